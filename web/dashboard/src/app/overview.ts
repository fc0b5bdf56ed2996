// How things are: read for the page's frame, and shown by the overview as well.

import type { Overview } from '../api/types'
import { Store } from '../lib/store'

export const overview = new Store<Overview | null>(null)
