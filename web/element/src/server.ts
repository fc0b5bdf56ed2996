/*
 * server.ts
 *   Lets lit be imported where there is no document.  The build puts this in the
 *   place of the name, and nothing is added to a server's own.
 */
export const document = globalThis.document ?? { createTreeWalker: () => ({}) }
