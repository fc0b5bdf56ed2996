// Collects what a page does wrong: errors in its console, exceptions, violations of
// its Content-Security-Policy, dialogs, requests that fail. What a test expects it
// says beforehand; the rest fails it.

const REPORT_VIOLATIONS = () => {
  document.addEventListener('securitypolicyviolation', (e) => {
    window.vibetestReport(`${e.violatedDirective}: ${e.blockedURI} ${e.sample} (${e.sourceFile}:${e.lineNumber})`)
  })
}

export class Watch {
  constructor() {
    this.problems = []
    // the expected ones, too
    this.noted = []
    this.expected = []
    this.quiet = false
  }

  /** A pattern of problems that are meant to be, "kind: text". */
  expect(...patterns) {
    this.expected.push(...patterns)
  }

  #note(kind, text) {
    const problem = `${kind}: ${text}`
    if (!this.quiet) this.noted.push(problem)
    if (!this.quiet && !this.expected.some((pattern) => pattern.test(problem))) this.problems.push(problem)
  }

  async attach(page) {
    page.on('console', (message) => {
      if (message.type() === 'error') this.#note('console', `${message.text()} (${message.location().url})`)
    })
    page.on('pageerror', (error) => this.#note('exception', error.stack ?? error.message))
    page.on('dialog', (dialog) => {
      this.#note('dialog', `${dialog.type()} ${dialog.message()}`)
      dialog.dismiss().catch(() => {})
    })
    page.on('requestfailed', (request) => {
      const { errorText } = request.failure() ?? {}
      // a page that is left, or a video that has read enough
      if (errorText !== 'net::ERR_ABORTED') this.#note('request', `${request.method()} ${request.url()}: ${errorText}`)
    })
    page.on('response', (response) => {
      if (response.status() >= 400) this.#note('answer', `${response.status()} ${response.request().method()} ${response.url()}`)
    })
    await page.exposeFunction('vibetestReport', (text) => this.#note('CSP', text))
    await page.addInitScript(REPORT_VIOLATIONS)
  }

  /** While axe is at work, which is not the page's. */
  async pausing(work) {
    this.quiet = true
    try {
      return await work()
    } finally {
      this.quiet = false
    }
  }

  check() {
    const problems = this.problems.splice(0)
    if (problems.length) throw new Error(`the page did what it should not:\n  ${problems.join('\n  ')}`)
  }
}
