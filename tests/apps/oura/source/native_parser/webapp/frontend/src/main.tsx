import { show } from './App'

void show(document.getElementById('root')!)
