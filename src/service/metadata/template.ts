/**
 * Placeholders in what is served: `@hostname@` and a few more words, and nothing else. Cloud-init's own templates, shell
 * and addresses of mail hold at signs and braces of all kinds, so only known words count; `@@hostname@@` stands for
 * `@hostname@` itself. Bytes are kept as they are, whatever they encode.
 */
const WORDS = [
  'instance-id',
  'hostname',
  'address',
  'mac',
  'port',
  'gateway',
  'domain',
  'dns',
  'url',
  'password',
  'phone-home-url',
] as const;

export type Word = (typeof WORDS)[number];

const KNOWN = WORDS.join('|');
const PLACEHOLDER = new RegExp(`@@(${KNOWN})@@|@(${KNOWN})@`, 'g');
/** Of gzip, which cloud-init takes as user-data: an at sign in it means nothing. */
const GZIP = [0x1f, 0x8b] as const;

const isPacked = (content: Buffer): boolean => content[0] === GZIP[0] && content[1] === GZIP[1];

/** The words that a document asks for. */
export function wordsIn(content: Buffer): Set<Word> {
  const found = new Set<Word>();
  if (isPacked(content)) return found;
  for (const [, , word] of content.toString('latin1').matchAll(PLACEHOLDER))
    if (word !== undefined) found.add(word as Word);
  return found;
}

/** The document with values, which are ASCII, in the places of words. */
export function filled(content: Buffer, values: Readonly<Record<Word, string>>): Buffer {
  if (isPacked(content) || !content.includes(0x40)) return content;
  const text = content
    .toString('latin1') // one character a byte
    .replace(PLACEHOLDER, (_, escaped: Word | undefined, word: Word) =>
      escaped === undefined ? values[word] : `@${escaped}@`,
    );
  return Buffer.from(text, 'latin1');
}
