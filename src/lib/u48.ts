// How large may an index, a term, a time or a request number be? Six bytes in every record of the log, and no larger anywhere else.

export const MAX_U48 = 0xffff_ffff_ffff;
