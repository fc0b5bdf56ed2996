// The ledger is not there yet, and says so.

import { html } from 'lit'
import { link } from '../app/route'
import { define, Part } from '../parts/base'
import { pageHead } from '../parts/panel'
import { empty } from '../parts/states'

class LedgerScreen extends Part {
  override render() {
    return html`${pageHead('Ledger')}
      ${empty(
        'No ledger yet: what fal.ai has billed is not compared with prices.',
        html`<p class="quiet">What was spent is under <a href=${link('users')}>Users</a> and <a href=${link('charts')}>Charts</a>.</p>`,
      )}`
  }
}

define('vv-ledger', LedgerScreen)
