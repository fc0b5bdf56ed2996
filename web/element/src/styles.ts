/*
 * Sizes are relative to the text, sides are logical.  Colours follow the page's
 * color-scheme, and each can be replaced by a variable.
 */
export const styles = /* css */ `
  :host {
    --accent: var(--vibe-video-accent, light-dark(#1d4ed8, #93b4ff));
    --on-accent: var(--vibe-video-on-accent, light-dark(#fff, #0b1533));
    --surface: var(--vibe-video-surface, light-dark(#f5f6f8, #1a1d23));
    --text: var(--vibe-video-text, light-dark(#1b1f27, #e9ebef));
    --muted: var(--vibe-video-muted, light-dark(#555d6b, #a6aebb));
    --border: var(--vibe-video-border, light-dark(#d5d9e0, #383e49));
    --danger: var(--vibe-video-danger, light-dark(#b3261e, #ff9d94));
    --radius: var(--vibe-video-radius, 0.75rem);
    display: block;
    color: var(--text);
    font: var(--vibe-video-font, inherit);
    line-height: 1.4;
    text-align: start;
  }
  :host([hidden]) { display: none }

  .stage {
    position: relative;
    box-sizing: border-box;
    display: flex;
    flex-direction: column;
    align-items: center;
    justify-content: center;
    min-inline-size: 0;
    aspect-ratio: var(--vibe-video-aspect-ratio, 16 / 9);
    padding: 1.25em;
    gap: 0.375em;
    border: 1px solid var(--border);
    border-radius: var(--radius);
    background: var(--surface);
    text-align: center;
    overflow-wrap: anywhere;
  }
  .stage:focus { outline: none }
  .stage.idle { border-style: dashed }
  .stage.ready { padding: 0; overflow: hidden; background: #000 }

  video, img {
    display: block;
    inline-size: 100%;
    block-size: 100%;
    position: absolute;
    inset: 0;
    object-fit: contain;
  }

  /* above the picture, away from the controls, and never in the way of a click */
  .generated {
    position: absolute;
    inset-block-start: 0.75em;
    inset-inline-start: 0.75em;
    padding: 0.125em 0.5em;
    border-radius: calc(var(--radius) * 0.5);
    background: rgb(0 0 0 / 70%);
    color: #fff;
    font-size: 0.75em;
    pointer-events: none;
  }

  p { margin: 0; max-inline-size: 34em; text-wrap: balance }
  /* a sentence may be in another language than the page */
  p, button { unicode-bidi: plaintext }
  .title { font-weight: 600 }
  .detail, .note { color: var(--muted); font-size: 0.875em }
  .note { margin-block-start: 0.5em }
  .tabular { font-variant-numeric: tabular-nums }

  svg {
    inline-size: 2em;
    block-size: 2em;
    flex: none;
    margin-block-end: 0.25em;
    color: var(--muted);
    fill: none;
    stroke: currentColor;
    stroke-width: 1.75;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .failed svg { color: var(--danger) }

  .actions { display: flex; flex-wrap: wrap; justify-content: center; gap: 0.5em; margin-block-start: 0.625em }
  .ask { display: flex; flex-direction: column; align-items: center; gap: 0.375em }
  button {
    font: inherit;
    font-weight: 600;
    min-block-size: 2.5em;
    padding: 0.375em 1.125em;
    border: 1px solid var(--accent);
    border-radius: calc(var(--radius) * 0.75);
    background: var(--accent);
    color: var(--on-accent);
    cursor: pointer;
    overflow-wrap: anywhere;
  }
  button.quiet { background: transparent; border-color: color-mix(in srgb, var(--muted) 55%, var(--border)); color: var(--text); font-weight: 500 }
  button:hover { filter: brightness(1.08) }
  button.quiet:hover { filter: none; border-color: var(--muted) }
  button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
  button[aria-disabled='true'] { opacity: 0.65; cursor: progress }

  .bar {
    inline-size: min(16em, 100%);
    block-size: 0.375em;
    margin-block-start: 0.5em;
    border-radius: 1em;
    background: var(--border);
    overflow: hidden;
  }
  .bar div { block-size: 100%; border-radius: inherit; background: var(--accent); transition: inline-size 0.4s linear }
  .bar.unknown div { inline-size: 30%; animation: pass 1.8s ease-in-out infinite }
  .dots { display: flex; gap: 0.4em; margin-block: 0.4em 0.5em }
  .dots i { inline-size: 0.5em; block-size: 0.5em; border-radius: 50%; background: var(--muted); animation: wait 1.5s ease-in-out infinite }
  .dots i:nth-child(2) { animation-delay: 0.2s }
  .dots i:nth-child(3) { animation-delay: 0.4s }
  @keyframes pass { from { margin-inline-start: -30% } to { margin-inline-start: 100% } }
  @keyframes wait { 0%, 60%, 100% { opacity: 0.3 } 30% { opacity: 1 } }

  .error {
    margin-block-start: 0.5em;
    padding: 0.5em 0.75em;
    border-inline-start: 3px solid var(--danger);
    background: var(--surface);
    overflow-wrap: anywhere;
  }
  .error p, .under { text-wrap: wrap }
  .error p:dir(rtl), .under:dir(rtl) { text-align: right }
  .under { margin-block-start: 0.5em }

  .unseen { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }

  @media (prefers-reduced-motion: reduce) {
    .bar div { transition: none }
    .bar.unknown div { animation: none; inline-size: 100%; opacity: 0.45 }
    .dots i { animation: none; opacity: 0.7 }
  }
  @media (forced-colors: active) {
    .bar { border: 1px solid }
    .bar div, .dots i { background: Highlight }
  }
`
