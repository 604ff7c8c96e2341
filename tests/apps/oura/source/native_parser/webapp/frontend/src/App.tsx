const API_BASE = 'http://localhost:8000'

// The real page carries its author's key as the default of an input; this one is made up.
export const [authKeyInput, setAuthKeyInput] = useState('0123456789abcdef0123456789abcdef')

function useState<T>(value: T): [T, (next: T) => void] {
  return [value, () => undefined]
}

export async function show(root: HTMLElement): Promise<void> {
  const ws = new WebSocket('ws://localhost:8000/ble/ws')
  ws.onmessage = (event) => console.log(event.data)
  const answer = await fetch(`${API_BASE}/summary`)
  root.textContent = answer.ok ? JSON.stringify(await answer.json()) : 'No data yet'
  root.dataset.key = authKeyInput
}
