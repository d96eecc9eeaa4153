/** The filters of captures: libpcap's language, compiled by tcpdump to classic BPF, which the data plane runs. */
import { OperatorError } from '../errors.ts';
import { run } from '../host/run.ts';
import { fault, parseProgram } from '../wire/bpf.ts';

const MAX_LENGTH = 8_192;
/** For Ethernet, as numbers; nothing is opened. An expression that begins with a dash must not be an option. */
const WORDS = ['-y', 'EN10MB', '-ddd', '--'];

/** The program of an expression; undefined where it is empty: all frames. tcpdump's own sentence when it does not like it. */
export async function compile(expression: string): Promise<Int32Array | undefined> {
  if (expression.trim() === '') return undefined;
  if (expression.length > MAX_LENGTH || expression.includes('\0'))
    throw refused(
      '…',
      `has ${expression.length} characters; expected at most ${MAX_LENGTH}, none of them NUL`,
    );
  const words = [...WORDS, expression];
  let text: string;
  try {
    text = await run('tcpdump', words);
  } catch (cause) {
    if (!(cause instanceof OperatorError) || cause.code === 'MissingTool') throw cause;
    const why = cause.message.replace(`tcpdump ${words.join(' ')}: `, '').replace(/^tcpdump: /, '');
    throw refused(expression, why, cause);
  }
  const program = parseProgram(text);
  if (program === undefined) throw new Error(`tcpdump -ddd printed what is no program: ${text.slice(0, 80)}`);
  const wrong = fault(program);
  if (wrong !== undefined) throw refused(expression, `compiled, ${wrong}; expected one about frames alone`);
  return program;
}

const refused = (expression: string, why: string, cause?: unknown): OperatorError =>
  new OperatorError(`--filter ${JSON.stringify(expression)}: ${why}`, { code: 'Usage', cause });
