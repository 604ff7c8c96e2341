// Builds dist/ as the real one's Vite does: index.html, and the bundled program below assets/ with its hash in the name.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { build } from 'esbuild'

const bundle = await build({ entryPoints: ['src/main.tsx'], bundle: true, minify: true, format: 'esm', write: false })
const program = bundle.outputFiles[0].contents
const name = `assets/index-${createHash('sha256').update(program).digest('hex').slice(0, 8)}.js`
rmSync('dist', { recursive: true, force: true })
mkdirSync('dist/assets', { recursive: true })
writeFileSync(`dist/${name}`, program)
writeFileSync('dist/index.html', readFileSync('index.html', 'utf8').replace('/src/main.tsx', `/${name}`))
console.log(`dist/${name}: ${program.length} bytes`)
