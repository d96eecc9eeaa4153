/**
 * Classic BPF (McCanne and Jacobson, "The BSD Packet Filter", 1993): programs as `tcpdump -ddd` prints them, checked and run
 * over frames. A program that passes `fault` ends, since it jumps forward only, and touches nothing but the frame.
 *
 *   word 0 code │ 1 jt │ 2 jf │ 3 k         an instruction; jumps count from the one behind it
 *
 * Numbers are unsigned 32-bit ones, kept as signed: `flip` brings them into the order that they compare in. A load beyond
 * the frame ends the program: the frame does not match.
 */

/** Words of an instruction. */
const WORDS = 4;
const [JT, JF, K] = [1, 2, 3];
/** As the kernel has it, BPF_MAXINSNS. */
const MAX_INSTRUCTIONS = 4_096;
/** Words of scratch memory, BPF_MEMWORDS. */
const SCRATCH = 16;

// Codes. Loads of a word, a half and a byte: from a place, or from a place behind X.
const [LD_W, LD_H, LD_B] = [0x20, 0x28, 0x30];
const [LD_W_X, LD_H_X, LD_B_X] = [0x40, 0x48, 0x50];
const [LD_IMM, LD_MEM, LD_LEN] = [0x00, 0x60, 0x80];
const [LDX_IMM, LDX_MEM, LDX_LEN, LDX_MSH] = [0x01, 0x61, 0x81, 0xb1];
const [ST, STX, TAX, TXA] = [0x02, 0x03, 0x07, 0x87];
const [JA, JEQ, JGT, JGE, JSET] = [0x05, 0x15, 0x25, 0x35, 0x45];
const [RET_K, RET_A] = [0x06, 0x16];
const [ADD, SUB, MUL, DIV, OR, AND] = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54];
const [LSH, RSH, NEG, MOD, XOR] = [0x64, 0x74, 0x84, 0x94, 0xa4];
/** Of an operation or a jump: its other side is X. */
const BY_X = 0x08;

/** Where the kernel keeps what is no byte of the frame (SKF_AD_OFF): its protocol, and whether it comes or goes. */
const ANCILLARY = -0x1000;
const [AD_PROTOCOL, AD_TYPE] = [ANCILLARY, ANCILLARY + 4];
const PACKET_OUTGOING = 4;
const ETHERTYPE_AT = 12;

const LOADS = [LD_W, LD_H, LD_B, LD_W_X, LD_H_X, LD_B_X, LD_LEN, LDX_LEN, LDX_MSH];
const MOVES = [LD_IMM, LDX_IMM, TAX, TXA];
const MEMORY = [LD_MEM, LDX_MEM, ST, STX];
const JUMPS = [JEQ, JGT, JGE, JSET].flatMap(code => [code, code | BY_X]);
const SHIFTS = [LSH, RSH];
const SUMS = [ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR].flatMap(code => [code, code | BY_X]);
const ENDS = [RET_K, RET_A];
const KNOWN = new Set([...LOADS, ...MOVES, ...MEMORY, ...JUMPS, ...SUMS, ...ENDS, JA, NEG]);

/** The program in what `tcpdump -ddd` prints: a count, then a line of four numbers for each instruction; undefined: it is none. */
export function parseProgram(text: string): Int32Array | undefined {
  const [count = '', ...lines] = text.trim().split('\n');
  if (!/^\d+$/.test(count) || Number(count) !== lines.length) return undefined;
  const program = new Int32Array(lines.length * WORDS);
  for (const [index, line] of lines.entries()) {
    const numbers = line.trim().split(/\s+/).map(Number);
    if (numbers.length !== WORDS || !numbers.every(each => Number.isInteger(each) && each >= 0))
      return undefined;
    program.set(numbers, index * WORDS);
  }
  return program;
}

/** What is wrong with a program, undefined: nothing, so that it may run. */
export function fault(program: Int32Array): string | undefined {
  const count = program.length / WORDS;
  if (!Number.isInteger(count) || count < 1 || count > MAX_INSTRUCTIONS)
    return `it has ${count} instructions; expected 1 to ${MAX_INSTRUCTIONS}`;
  for (let at = 0; at < count; at++) {
    const wrong = faultOf(program, at, count);
    if (wrong !== undefined) return `instruction ${at} ${wrong}`;
  }
  const last = program[(count - 1) * WORDS] as number;
  return ENDS.includes(last) ? undefined : 'it does not end with a return';
}

function faultOf(program: Int32Array, at: number, count: number): string | undefined {
  const [code, jt, jf, k] = program.subarray(at * WORDS, (at + 1) * WORDS) as unknown as [
    number,
    number,
    number,
    number,
  ];
  if (!KNOWN.has(code)) return `has the unknown code ${code}`;
  const left = count - at - 1;
  const inside = (jump: number): boolean => jump >= 0 && jump < left;
  if (code === JA && !inside(k)) return 'jumps out of the program';
  if (JUMPS.includes(code) && !(inside(jt) && inside(jf))) return 'jumps out of the program';
  if (MEMORY.includes(code) && !(k >= 0 && k < SCRATCH)) return `uses the memory word ${k}`;
  if ((code === DIV || code === MOD) && k === 0) return 'divides by nought';
  if (SHIFTS.includes(code) && !(k >= 0 && k < 32)) return `shifts by ${k}`;
  if ([LD_W, LD_H, LD_B].includes(code) && k < 0 && k !== AD_PROTOCOL && k !== AD_TYPE)
    return 'asks for what only a socket of the kernel knows';
  return undefined;
}

const flip = (value: number): number => value ^ (1 << 31);

/**
 * What takes `length` bytes of a frame at `at`, and says whether the program, which `fault` has nothing against, accepts
 * them. `outgoing`: does it leave by the port that is captured? `inbound` and `outbound` ask for that. It allocates nothing.
 */
export type Filter = (mem: DataView, at: number, length: number, outgoing: boolean) => boolean;

export function filterOf(program: Int32Array): Filter {
  const scratch = new Int32Array(SCRATCH);
  return (mem, at, length, outgoing) => {
    let a = 0;
    let x = 0;
    for (let pc = 0; ; pc += WORDS) {
      const k = program[pc + K] as number;
      const code = program[pc] as number;
      switch (code) {
        case LD_W:
        case LD_H:
        case LD_B: {
          if (k < 0) {
            if (k === AD_TYPE) a = outgoing ? PACKET_OUTGOING : 0;
            else if (length < ETHERTYPE_AT + 2) return false;
            else a = mem.getUint16(at + ETHERTYPE_AT);
            break;
          }
          const size = code === LD_W ? 4 : code === LD_H ? 2 : 1;
          if (k > length - size) return false;
          a = load(mem, at + k, size);
          break;
        }
        case LD_W_X:
        case LD_H_X:
        case LD_B_X: {
          const size = code === LD_W_X ? 4 : code === LD_H_X ? 2 : 1;
          if (k < 0 || x < 0 || x > length || k > length - x - size) return false;
          a = load(mem, at + x + k, size);
          break;
        }
        case LDX_MSH:
          if (k < 0 || k >= length) return false;
          x = (mem.getUint8(at + k) & 15) << 2;
          break;
        case LD_IMM:
          a = k;
          break;
        case LDX_IMM:
          x = k;
          break;
        case LD_MEM:
          a = scratch[k] as number;
          break;
        case LDX_MEM:
          x = scratch[k] as number;
          break;
        case LD_LEN:
          a = length;
          break;
        case LDX_LEN:
          x = length;
          break;
        case ST:
          scratch[k] = a;
          break;
        case STX:
          scratch[k] = x;
          break;
        case TAX:
          x = a;
          break;
        case TXA:
          a = x;
          break;
        case NEG:
          a = -a | 0;
          break;
        case JA:
          pc += k * WORDS;
          break;
        case RET_K:
          return k !== 0;
        case RET_A:
          return a !== 0;
        default: {
          const other = (code & BY_X) === 0 ? k : x;
          const operation = code & ~BY_X;
          if ((code & 7) === 5) {
            const yes =
              operation === JEQ
                ? a === other
                : operation === JGT
                  ? flip(a) > flip(other)
                  : operation === JGE
                    ? flip(a) >= flip(other)
                    : (a & other) !== 0;
            pc += (program[pc + (yes ? JT : JF)] as number) * WORDS;
            break;
          }
          if ((operation === DIV || operation === MOD) && other === 0) return false;
          a = compute(operation, a, other);
        }
      }
    }
  };
}

function load(mem: DataView, at: number, size: number): number {
  return size === 4 ? mem.getInt32(at) : size === 2 ? mem.getUint16(at) : mem.getUint8(at);
}

function compute(operation: number, a: number, b: number): number {
  switch (operation) {
    case ADD:
      return (a + b) | 0;
    case SUB:
      return (a - b) | 0;
    case MUL:
      return Math.imul(a, b);
    case DIV:
      return Math.floor((a >>> 0) / (b >>> 0)) | 0;
    case MOD:
      return ((a >>> 0) % (b >>> 0)) | 0;
    case OR:
      return a | b;
    case AND:
      return a & b;
    case XOR:
      return a ^ b;
    case LSH:
      return b >>> 5 === 0 ? a << b : 0;
    default: // RSH
      return b >>> 5 === 0 ? (a >>> b) | 0 : 0;
  }
}
