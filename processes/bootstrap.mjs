#!/usr/bin/env node
// Starts anything of AYMC from a bare clone. Plain JavaScript without dependencies, since it runs before these are
// installed: it installs what is missing, compiles what is stale, then hands over.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = [20, 3];
const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** `build`: whether compiled code must be fresh; `run`: what node then runs, followed by the caller's arguments. */
const COMMANDS = {
  start: { build: true, run: ['--enable-source-maps', 'dist/processes/dev.js'] },
  dev: { build: true, run: ['--enable-source-maps', 'dist/processes/dev.js', '--watch'] },
  api: { build: true, run: ['--enable-source-maps', 'dist/processes/api.js'] },
  worker: { build: true, run: ['--enable-source-maps', 'dist/processes/worker.js'] },
  // An agent lives beside what it serves: a smaller young generation saves a quarter of its memory.
  agent: { build: true, run: ['--max-semi-space-size=4', '--enable-source-maps', 'dist/agent/main.js'] },
  migrate: { build: true, run: ['--enable-source-maps', 'dist/processes/migrate.js'] },
  seed: { build: true, run: ['--enable-source-maps', 'dist/processes/seed.js'] },
  install: { build: false },
  build: { build: true },
  test: { build: false, run: ['--import', 'tsx', 'test/run.ts'] },
  fuzz: { build: false, run: ['--import', 'tsx', 'test/fuzz/run.ts'] },
  bench: { build: true, run: ['--import', 'tsx', 'test/bench/run.ts'] },
};

checkPlatform();
const [name, ...args] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name] : undefined;
if (!command) fail(`usage: node processes/bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
installWhenStale();
if (command.build) buildWhenStale();
if (command.run) handOver([...command.run, ...args]);

function checkPlatform() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    fail(
      `AYMC needs Node.js ${OLDEST_NODE.join('.')} or newer; this is ${process.version} (${process.execPath}).`,
    );
  }
  if (process.platform === 'win32') fail('AYMC runs on Linux and macOS; on Windows use WSL.');
}

function installWhenStale() {
  if (isInstalled()) return;
  say('Installing node modules …');
  // Not `npm ci`: that refuses a lock file that lacks an optional package of some other platform. With --no-save the
  // lock file decides all the same, and stays as it is. Development packages too, whatever the environment says: the
  // compiler is one of them.
  npm(['install', '--no-save', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** npm writes the second file last, so after an install that was cut off it is missing. */
function isInstalled() {
  const wanted = readJson('package-lock.json')?.packages;
  const present = readJson('node_modules/.package-lock.json')?.packages;
  if (!wanted || !present) return false;
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || (present[path] ? present[path].version === version : optional),
  );
}

function buildWhenStale() {
  const stamp = join(root, 'dist', '.sources');
  const sources = fingerprint();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === sources) return;
  say('Compiling …');
  run(process.execPath, ['--import', 'tsx', 'processes/build.ts']);
  writeFileSync(stamp, sources);
}

/** Changes when any file does that the build reads: by path, size and time, which takes a few milliseconds. */
function fingerprint() {
  const hash = createHash('sha256');
  const add = path => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (stat?.isDirectory())
      for (const entry of readdirSync(join(root, path)).sort()) add(`${path}/${entry}`);
    else if (stat) hash.update(`${path} ${stat.size} ${stat.mtimeMs}\n`);
  };
  const { include } = readJson('tsconfig.build.json');
  for (const path of [
    ...include,
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.build.json',
  ])
    add(path);
  return hash.digest('hex');
}

/** Becomes the given process as far as Node lets us: same terminal, same signals, same end. */
function handOver(nodeArgs) {
  const child = spawn(process.execPath, nodeArgs, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, AYMC_LAUNCHER_PID: String(process.pid) },
  });
  // A Ctrl-C reaches both of us; the child knows that echoes of one signal are one wish.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', error => fail(error.message));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
  endWithNpm(child);
}

/** npm killed with −9 can't tell us; left alone we would hold ports and data that a new start needs. */
function endWithNpm(child) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const before = ancestors();
  const timer = setInterval(() => {
    if (ancestors() === before) return;
    clearInterval(timer);
    child.kill('SIGTERM');
  }, 500);
  timer.unref();
}

/** Our parent and, where that can be read, its parent: npm puts a shell in between. */
function ancestors() {
  try {
    const stat = readFileSync(`/proc/${process.ppid}/stat`, 'utf8');
    return `${process.ppid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]}`;
  } catch {
    return String(process.ppid);
  }
}

function npm(npmArgs) {
  const script = process.env.npm_execpath;
  if (script?.endsWith('.js')) run(process.execPath, [script, ...npmArgs]);
  else run('npm', npmArgs);
}

function run(program, programArgs) {
  const { status, signal, error } = spawnSync(program, programArgs, { cwd: root, stdio: 'inherit' });
  if (error) fail(`${program} can't be run: ${error.message}`);
  if (status !== 0) fail(`${program} ${programArgs.join(' ')} failed (${signal ?? `exit code ${status}`})`);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'));
  } catch {
    return undefined;
  }
}

function say(line) {
  process.stderr.write(`${line}\n`);
}

function fail(line) {
  say(line);
  process.exit(1);
}
