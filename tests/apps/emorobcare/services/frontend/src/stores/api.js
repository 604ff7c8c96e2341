import { defineStore } from 'pinia'
import axios from 'axios'

const API_URL = import.meta.env.VITE_API_URL || 'http://localhost:8000'
const ASR_URL = import.meta.env.VITE_ASR_URL || 'http://localhost:8001'

export const useApiStore = defineStore('api', () => {
  const api = axios.create({ baseURL: API_URL })
  const asr = axios.create({ baseURL: ASR_URL })
  const checkHealth = async () => (await api.get('/health')).data.status === 'healthy'
  const transcribe = async (form) => (await asr.post('/transcribe', form)).data.text
  return { checkHealth, transcribe }
})
