// Does any code reach past its ports to the real world? While a seed runs, real time, chance and timers throw.

const MESSAGE = "code under simulation must use its ports, not the real world:";

/** Answers what undoes it. */
export function forbidRealWorld(): () => void {
  const undo: (() => void)[] = [];
  const forbid = (owner: object, name: string, replacement: unknown): void => {
    const original = Object.getOwnPropertyDescriptor(owner, name);
    Object.defineProperty(owner, name, { value: replacement, configurable: true, writable: true });
    undo.push(() =>
      original === undefined ? Reflect.deleteProperty(owner, name) : Object.defineProperty(owner, name, original),
    );
  };
  const throwing = (name: string) => (): never => {
    throw new Error(`${MESSAGE} ${name}`);
  };
  for (const name of ["setTimeout", "setInterval", "setImmediate", "queueMicrotask", "fetch"])
    forbid(globalThis, name, throwing(name));
  forbid(performance, "now", throwing("performance.now"));
  forbid(Math, "random", throwing("Math.random"));
  forbid(Date, "now", throwing("Date.now"));
  const RealDate = Date;
  forbid(
    globalThis,
    "Date",
    new Proxy(RealDate, {
      construct: (target, given) => (given.length === 0 ? throwing("new Date()")() : Reflect.construct(target, given)),
    }),
  );
  return () => {
    for (const back of undo.toReversed()) back();
  };
}
