// The page as people use it: by its roles and names.

import { until } from './wait.mjs'

/** Screens by their address, with the heading that each has. */
export const SCREENS = { overview: 'Overview', jobs: 'Jobs', lost: 'Lost submits', errors: 'Errors', users: 'Users', charts: 'Charts',
  limits: 'Limits and prices', health: 'Health', audit: 'Audit', ledger: 'Ledger' }

export async function signIn(page, { email, password }) {
  await page.getByLabel('Email address').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

export async function signInByToken(page, token) {
  await page.getByRole('button', { name: 'Token' }).click()
  await page.getByLabel('JWT').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

/** Opens the page and signs in; from: the page's address. */
export async function enter(page, world, person, from = world.dashboardUrl) {
  await page.goto(from)
  await signIn(page, person)
  await heading(page, 'Overview').waitFor()
}

export const heading = (page, name) => page.getByRole('heading', { level: 1, name, exact: true })
export const main = (page) => page.getByRole('main')
export const dialog = (page) => page.getByRole('dialog')
export const button = (page, name) => page.getByRole('button', { name, exact: typeof name === 'string' })

/** Nothing is being read that has not been shown yet. */
export async function settled(page) {
  await until('nothing is loading', async () => (await page.getByText('Loading …').count()) === 0 && (await page.locator('[aria-busy=true]').count()) === 0)
}

/** path: as "jobs?state=failed", "job/17". */
export async function go(page, path) {
  await page.evaluate(async (hash) => {
    const changed = new Promise((resolve) => { addEventListener('hashchange', resolve, { once: true }) })
    if (location.hash === hash) return
    location.hash = hash
    await changed
    await new Promise(requestAnimationFrame)
    await new Promise(requestAnimationFrame)
  }, `#/${path}`)
  await settled(page)
}

export async function goTo(page, screen) {
  await go(page, screen)
  await heading(page, SCREENS[screen]).waitFor()
}

/** Reads again what is shown, and waits until that has been done. */
export async function refresh(page) {
  await button(page, 'Refresh now').click()
  await settled(page)
}

/** So that nothing is read while a test counts or compares. */
export async function stopRefreshing(page) {
  await page.getByRole('combobox', { name: 'Refresh' }).selectOption({ label: 'never' })
}
