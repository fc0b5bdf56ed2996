/*
 * labels.ts
 *   Every string of the element, in English.  Property labels replaces some or
 *   all of them; message and reason are vibevideo's own sentences unless replaced.
 */
import type { Problem, Video } from './core.js'

export interface Labels {
  /** what the element is called */
  video: string
  loading: string
  /** on the video; empty for none */
  generated: string
  submit: string
  submitting: string
  /** under the button; price is what the attribute says */
  price(price: string): string
  /** how far it is, and what it waits for */
  message(video: Video): string
  estimate(seconds: number): string
  /** what the bars of progress are called */
  generating: string
  copying: string
  cancel: string
  cancelling: string
  cancelQuestion: string
  cancelHint: string
  cancelYes: string
  cancelNo: string
  failed: string
  /** why it failed */
  reason(video: Video): string
  /** only where it is certain; attempt is 1 for the first one of a row */
  uncharged(attempt: number): string
  /** the video was made, and its copy failed */
  made: string
  save: string
  /** the model objects to the text or the image */
  rejected: string
  submitChanged: string
  retry: string
  retrying: string
  cancelled: string
  again: string
  tooLate: string
  /** why something that was asked for was not done */
  refused(problem: Problem): string
  unavailable(problem: Problem): string
  /** the video cannot be looked at just now */
  stale: string
}

// what a model has said, in brackets at the end, may have its own
const stop = (sentence: string) => sentence.replace(/(?<![.!?]\)?)$/, '.')

/** "too many videos are active" and "Come back later." make two sentences. */
function sentences({ message, hint }: Problem): string {
  return [message.charAt(0).toUpperCase() + stop(message.slice(1)), hint].join(' ').trim()
}

const NOT_YOURS = 'This video does not exist, or it is not yours.'

export const english: Labels = {
  video: 'Video',
  loading: 'Loading',
  generated: 'AI-generated',
  submit: 'Make a video',
  submitting: 'Requesting it',
  price: (price) => `Costs ${price}`,
  message: (video) => video.message,
  estimate: (seconds) => seconds < 60 ? `about ${Math.ceil(seconds / 5) * 5} s` : `about ${Math.round(seconds / 60)} min`,
  generating: 'Generating',
  copying: 'Copying',
  cancel: 'Cancel',
  cancelling: 'Cancelling',
  cancelQuestion: 'Cancel this video?',
  cancelHint: 'If it is finished first, it is kept.',
  cancelYes: 'Yes, cancel it',
  cancelNo: 'No, go on',
  failed: 'The video failed',
  reason: (video) => stop(video.error ?? video.message),
  uncharged: (attempt) => attempt > 1 ? 'Nothing was charged for this attempt.' : 'Nothing was charged.',
  made: 'Saving it again is free.',
  save: 'Save it again',
  rejected: 'The same input would fail again. Change it first.',
  submitChanged: 'I have changed it: try again',
  retry: 'Try again',
  retrying: 'Requesting it',
  cancelled: 'Cancelled',
  again: 'Make it after all',
  tooLate: 'It was finished before it could be cancelled.',
  // these of vibevideo's errors are written for people: a bad input or model, and limits
  refused: (problem) => ['22023', 'PT402', 'PT422', 'PT429'].includes(problem.code) ? sentences(problem)
    : problem.code === 'PT404' || problem.status === 401 || problem.status === 403 ? NOT_YOURS
    : problem.status === 0 ? 'There was no answer. Check your connection, then try again.'
    : 'That did not work. Try again later.',
  unavailable: (problem) => problem.code === 'PT404' || problem.status === 403 ? NOT_YOURS : 'The video cannot be shown.',
  stale: 'No connection at the moment. The video goes on without you.',
}
