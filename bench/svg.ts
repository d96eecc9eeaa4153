/** Bars for a page: a group for each thing measured, a bar for each peer, as long as its share of the group's longest. */
import type { Row } from './peers/peers.ts';

const WIDTH = 720;
const LABEL = 190;
const BAR = 16;
const GAP = 6;
const HEADING = 34;
const OURS = '#2563eb';
const OTHERS = '#94a3b8';
const FIGURE_WIDTH = 60;

const escaped = (text: string): string => text.replace(/[&<>"]/g, sign => `&#${sign.charCodeAt(0)};`);

/** A document of its own; its text takes the reader's colours, light or dark. */
export function bars(rows: readonly Row[]): string {
  const parts: string[] = [];
  let y = 0;
  for (const { what, unit, by } of rows) {
    const peers = Object.entries(by);
    const longest = Math.max(...peers.map(([, value]) => value));
    y += HEADING;
    parts.push(`<text x="0" y="${y - 12}" font-weight="bold">${escaped(`${what}, ${unit}`)}</text>`);
    for (const [name, value] of peers) {
      const length = Math.max(1, ((WIDTH - LABEL - FIGURE_WIDTH) * value) / longest);
      const colour = name.startsWith('vswitchd') ? OURS : OTHERS;
      parts.push(
        `<text x="0" y="${y + 12}">${escaped(name)}</text>`,
        `<rect x="${LABEL}" y="${y}" width="${length.toFixed(1)}" height="${BAR}" fill="${colour}"/>`,
        `<text x="${(LABEL + length + 6).toFixed(1)}" y="${y + 12}">${value.toFixed(2)}</text>`,
      );
      y += BAR + GAP;
    }
  }
  const style =
    'text { font: 13px sans-serif; fill: #1f2937 } @media (prefers-color-scheme: dark) { text { fill: #e5e7eb } }';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}">`,
    `<style>${style}</style>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
