// The largest index, term, time or request number: six bytes in every record of the log, and no more anywhere else.

export const MAX_U48 = 0xffff_ffff_ffff;
