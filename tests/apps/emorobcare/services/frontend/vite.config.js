import { defineConfig } from 'vite'
import vue from '@vitejs/plugin-vue'

export default defineConfig({
  plugins: [vue()],
  server: { host: '0.0.0.0', port: 81, strictPort: true },
  build: { outDir: 'dist', assetsDir: 'assets', sourcemap: false }
})
