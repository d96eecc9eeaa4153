/** A TCP port as the operator writes it: digits on the command line, a number in a file. */
import { z } from 'zod';

const error = 'expected a TCP port from 1 to 65535';

export const PORT = z
  .union(
    [
      z.number(),
      z
        .string()
        .regex(/^\d{1,5}$/)
        .transform(Number),
    ],
    { error },
  )
  .pipe(z.int({ error }).min(1, { error }).max(65_535, { error }));
