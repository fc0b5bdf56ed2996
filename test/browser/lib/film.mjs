// A real film, made in a moment: what a test plays that is not about the making.

import { execFileSync } from 'node:child_process'

export function makeFilm(file, seconds) {
  execFileSync('ffmpeg', ['-loglevel', 'error', '-nostdin', '-y', '-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=25:duration=${seconds}`,
    '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-movflags', '+faststart', file])
  return file
}
