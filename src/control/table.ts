/** Tables for people: a heading, columns as wide as their widest cell, numbers to the right. */

/** `rows` as aligned lines under `columns`; one line saying so when there are none. */
export function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  if (rows.length === 0) return '  (none)';
  const widths = columns.map((title, at) =>
    Math.max(title.length, ...rows.map(row => String(row[at] ?? '').length)),
  );
  const line = (cells: readonly (string | number)[]): string =>
    `  ${cells.map((cell, at) => pad(cell, widths[at] as number)).join('  ')}`.trimEnd();
  return [line(columns), ...rows.map(line)].join('\n');
}

const pad = (cell: string | number, width: number): string =>
  typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width);
