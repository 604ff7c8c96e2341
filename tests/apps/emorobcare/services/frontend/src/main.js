import { createApp } from 'vue'
import { createPinia } from 'pinia'
import { createRouter, createWebHistory } from 'vue-router'
import { autoAnimatePlugin } from '@formkit/auto-animate/vue'

import App from './App.vue'
import Home from './views/Home.vue'

const router = createRouter({ history: createWebHistory(), routes: [{ path: '/', name: 'Home', component: Home }] })

createApp(App).use(createPinia()).use(router).use(autoAnimatePlugin).mount('#app')
