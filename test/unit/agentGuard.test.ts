import { type ChildProcess, spawn } from 'node:child_process';
import { constants, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { waitFor } from '#test/harness/waitFor.js';

const SCRIPT = fileURLToPath(new URL('../../agent/guard.sh', import.meta.url));

/** Stand-ins for a JVM. They write `ready` so that a test knows their traps are set. */
const WILLING =
  'echo ready; while read -r line; do echo "got $line"; case $line in stop) exit 0;; exit*) exit 7;; esac; done';
const DEAF = 'trap "" TERM; echo ready; while :; do sleep 0.1; done';
const TERM_ONLY = 'trap "echo terminated; exit 143" TERM; echo ready; while :; do sleep 0.1; done';

describe('guard', function () {
  this.timeout(30_000);

  let root: string;
  let state: string;
  let runs = 0;
  const started: { child: ChildProcess; run: string }[] = [];

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'aymc-guard-'));
    state = join(root, 'state');
    await mkdir(state);
  });

  afterEach(async () => {
    for (const { child, run } of started.splice(0)) {
      child.kill('SIGKILL');
      const pid = (await jvmOf(run))?.pid;
      if (pid !== undefined) signal(pid, 'SIGKILL');
    }
    await rm(root, { recursive: true, force: true });
  });

  async function guard(script: string, times: [string, string] = ['1', '1']) {
    const run = join(root, `run-${runs++}`);
    await mkdir(run);
    const log = await open(join(run, 'guard.log'), 'a');
    const child = spawn('/bin/sh', [SCRIPT, state, run, ...times, '/bin/sh', '-c', script], {
      cwd: root,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    await log.close();
    const exited = new Promise<number | null>(resolve => child.once('exit', resolve));
    started.push({ child, run });
    return { run, child, exited };
  }

  async function playing(script: string, times?: [string, string]) {
    const guarded = await guard(script, times);
    const jvm = await waitFor(() => jvmOf(guarded.run), { what: 'the pid file' });
    await waitFor(async () => (await consoleOf(guarded.run)).includes('ready'), { what: 'the server' });
    return { ...guarded, jvm };
  }

  async function lease(from: number, until: number, boot?: string): Promise<void> {
    const id = boot ?? (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    await writeFile(join(state, 'lease.tmp'), `${id} ${from} ${until}\n`);
    await rename(join(state, 'lease.tmp'), join(state, 'lease'));
  }

  it('writes down the pid with its start time, and the exit code as soon as there is one', async () => {
    const { run, jvm, exited } = await playing(WILLING);
    expect(jvm.ticks).to.equal(await ticksOf(jvm.pid));
    await type(run, 'exit');
    const asked = performance.now();
    await exited;
    expect(await exitOf(run)).to.equal(7);
    expect(performance.now() - asked, 'SIGCHLD is seen at once, not at the next second').to.be.lessThan(500);
  });

  it('lets the JVM keep the lock, so that a second copy is refused', async () => {
    const first = await playing(WILLING);
    const second = await guard(WILLING);
    expect(await second.exited).to.equal(73);
    expect(await jvmOf(second.run), 'nothing was started').to.equal(undefined);
    await type(first.run, 'stop');
    await first.exited;
    const third = await playing(WILLING);
    expect(isRunning(third.jvm.pid)).to.equal(true);
  });

  it('keeps the lock held when the guard is killed with its JVM still dying', async () => {
    // Without the death signal, as if the guard had died between fork and prctl.
    const { child, jvm } = await playing(
      `exec setpriv --pdeathsig clear /bin/sh -c '${DEAF.replaceAll("'", '')}'`,
    );
    child.kill('SIGKILL');
    await waitFor(() => !isRunning(child.pid ?? 0), { what: 'the guard to die' });
    expect(isRunning(jvm.pid)).to.equal(true);
    const second = await guard(WILLING);
    expect(await second.exited).to.equal(73);
  });

  it('takes its JVM along when it is killed', async () => {
    const { child, jvm } = await playing(DEAF);
    child.kill('SIGKILL');
    await waitFor(() => !isRunning(jvm.pid), { what: 'the JVM to die', timeoutMs: 2_000 });
  });

  it('does not give way to the signals of a host that shuts down', async () => {
    const { run, child, jvm, exited } = await playing(WILLING);
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) child.kill(name);
    await type(run, 'say still here');
    await waitFor(async () => (await consoleOf(run)).includes('still here'), {
      what: 'the server to play on',
    });
    signal(jvm.pid, 'SIGTERM');
    await exited;
    expect(await exitOf(run), 'the JVM itself does obey').to.equal(143);
  });

  it('kills what the JVM leaves behind in its group', async () => {
    const { run, exited } = await playing(`sleep 1000 & echo "child $!"; ${WILLING}`);
    const child = Number(/child (\d+)/.exec(await consoleOf(run))?.[1]);
    expect(isRunning(child)).to.equal(true);
    await type(run, 'stop');
    await exited;
    await waitFor(() => !isRunning(child), { what: 'the orphan to be killed', timeoutMs: 1_000 });
  });

  it('records 137 for a kill of the group, and lives through it', async () => {
    const { run, jvm, exited } = await playing(DEAF);
    signal(-jvm.pid, 'SIGKILL');
    expect(await exited).to.equal(0);
    expect(await exitOf(run)).to.equal(137);
  });

  it('never uses a run folder twice', async () => {
    const { run, exited } = await playing(WILLING);
    await type(run, 'stop');
    await exited;
    const again = spawn('/bin/sh', [SCRIPT, state, run, '1', '1', '/bin/sh', '-c', WILLING], {
      stdio: 'ignore',
    });
    const code = await new Promise(resolve => again.once('exit', resolve));
    expect(code).to.equal(75);
    expect(await exitOf(run)).to.equal(0);
  });

  it('gives the JVM the console once, as its input, and the lock once', async () => {
    const { run, jvm } = await playing(WILLING);
    const held = await descriptorsOf(jvm.pid);
    expect(held.filter(({ path }) => path === join(run, 'stdin')).map(({ fd }) => fd)).to.deep.equal(['0']);
    expect(held.filter(({ path }) => path === join(state, 'lock')).map(({ fd }) => fd)).to.deep.equal(['9']);
  });

  it('takes at most 3 MB', async () => {
    const { child } = await playing(WILLING);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    expect(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1])).to.be.within(1, 3 * 1024);
  });

  describe('lease', () => {
    const now = (): number => Math.floor(uptime());

    it('without a file is no lease: the server plays on', async () => {
      const { run } = await playing(WILLING);
      await lease(now(), now() + 3600);
      await rm(join(state, 'lease'));
      await type(run, 'say a');
      await waitFor(async () => (await consoleOf(run)).includes('got say a'), {
        what: 'the server to answer',
      });
      expect(await exitOf(run)).to.equal(undefined);
    });

    it('that is over before the start starts nothing', async () => {
      await lease(now() - 10, now() - 1);
      const { run, exited } = await guard(WILLING);
      expect(await exited).to.equal(76);
      expect(await jvmOf(run)).to.equal(undefined);
    });

    it('when over asks a willing server to stop', async () => {
      const { run, exited } = await playing(WILLING);
      await lease(now(), now() + 2);
      await exited;
      expect(await exitOf(run)).to.equal(0);
      expect(await readFile(join(run, 'lease-expired'), 'utf8')).to.equal('');
    });

    it('is renewed by replacing the file', async () => {
      const { run } = await playing(WILLING);
      await lease(now(), now() + 2);
      const renewed = now() + 600;
      await lease(now(), renewed);
      const end = now() + 3;
      await waitFor(() => now() >= end, { what: 'the first lease to be over' });
      expect(await exitOf(run)).to.equal(undefined);
    });

    for (const [what, file] of [
      ['of another boot of the host', () => lease(0, now() + 3600, 'd5c9bd56-0000-4000-8000-000000000000')],
      ['that is not readable', () => writeFile(join(state, 'lease'), 'rubbish\n')],
      ['of the future, as after a restored machine', () => lease(now() + 3600, now() + 7200)],
    ] as const) {
      it(`${what} counts as over`, async () => {
        const { run, exited } = await playing(WILLING);
        await file();
        await exited;
        expect(await exitOf(run)).to.equal(0);
      });
    }

    it('when over ends a server that only obeys SIGTERM', async () => {
      const { run, exited } = await playing(TERM_ONLY);
      await lease(now() - 10, now() - 1);
      await exited;
      expect(await exitOf(run)).to.equal(143);
    });

    it('when over ends a deaf server whose console is full, by SIGKILL', async () => {
      const { run, exited } = await playing(DEAF);
      await fillConsole(run);
      await lease(now() - 10, now() - 1);
      await exited;
      expect(await exitOf(run)).to.equal(137);
    });
  });
});

interface Jvm {
  pid: number;
  ticks: number;
}

async function jvmOf(run: string): Promise<Jvm | undefined> {
  const text = await readFile(join(run, 'pid'), 'utf8').catch(() => '');
  const [pid, ticks] = text.split(' ').map(Number);
  return pid ? { pid, ticks: ticks ?? 0 } : undefined;
}

async function exitOf(run: string): Promise<number | undefined> {
  const text = await readFile(join(run, 'exit'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number(text);
}

function consoleOf(run: string): Promise<string> {
  return readFile(join(run, 'console.log'), 'utf8').catch(() => '');
}

async function ticksOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
}

async function descriptorsOf(pid: number): Promise<{ fd: string; path: string }[]> {
  const fds = await readdir(`/proc/${pid}/fd`);
  return Promise.all(fds.map(async fd => ({ fd, path: await readlink(`/proc/${pid}/fd/${fd}`) })));
}

async function type(run: string, line: string): Promise<void> {
  const fifo = await open(join(run, 'stdin'), constants.O_WRONLY | constants.O_NONBLOCK);
  await fifo.write(`${line}\n`);
  await fifo.close();
}

/** Until the kernel takes no more. */
async function fillConsole(run: string): Promise<void> {
  const fifo = await open(join(run, 'stdin'), constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    for (;;) await fifo.write(Buffer.alloc(4096, 'x'));
  } catch (error) {
    expect(String(error)).to.include('EAGAIN');
  } finally {
    await fifo.close();
  }
}

/** A zombie does not run. */
function isRunning(pid: number): boolean {
  try {
    return /^State:\t[^ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // ended meanwhile
  }
}
