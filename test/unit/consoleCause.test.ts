import { expect } from 'chai';
import type { AlertCode } from '#src/domain/alert.js';
import { causeOf } from '#src/domain/consoleCause.js';
import { joinEntries } from '#src/domain/consoleEntry.js';

const causesIn = (...lines: string[]) =>
  joinEntries(lines).flatMap(entry => {
    const cause = causeOf(entry);
    return cause ? [cause] : [];
  });
const codesIn = (...lines: string[]) => causesIn(...lines).map(({ code }) => code);

/** As servers print them. */
const LOGS: [code: AlertCode, of: string, lines: string[]][] = [
  [
    'port-in-use',
    'vanilla',
    [
      '[12:00:00] [Server thread/INFO]: Starting Minecraft server on *:25565',
      '[12:00:00] [Server thread/WARN]: **** FAILED TO BIND TO PORT!',
      '[12:00:00] [Server thread/WARN]: The exception was: java.net.BindException: Address already in use',
      '[12:00:00] [Server thread/WARN]: Perhaps a server is already running on that port?',
    ],
  ],
  ['port-in-use', 'Paper', ['[12:00:00 WARN]: **** FAILED TO BIND TO PORT!']],
  [
    'port-in-use',
    'Forge',
    [
      '[24Nov2026 04:29:23.120] [Server thread/WARN] [minecraft/DedicatedServer/]: **** FAILED TO BIND TO PORT!',
    ],
  ],
  [
    'out-of-memory',
    'the JVM',
    ['Exception in thread "Server thread" java.lang.OutOfMemoryError: Java heap space'],
  ],
  ['out-of-memory', 'an exiting JVM', ['Terminating due to java.lang.OutOfMemoryError: Java heap space']],
  [
    'out-of-memory',
    'vanilla',
    [
      '[12:00:00] [Server thread/ERROR]: Encountered an unexpected exception',
      'java.lang.OutOfMemoryError: Java heap space',
      '\tat java.util.Arrays.copyOf(Arrays.java:3537)',
    ],
  ],
  [
    'out-of-memory',
    'a JVM that never began',
    [
      'Error occurred during initialization of VM',
      'Could not reserve enough space for 67108864KB object heap',
    ],
  ],
  [
    'wrong-java',
    'Paperclip',
    [
      'Error: LinkageError occurred while loading main class io.papermc.paperclip.Main',
      '\tjava.lang.UnsupportedClassVersionError: io/papermc/paperclip/Main has been compiled by a more recent version of the Java Runtime (class file version 65.0), this version of the Java Runtime only recognizes class file versions up to 61.0',
    ],
  ],
  ['wrong-java', 'Paper', ['Unsupported Java detected (61.0). Only up to Java 20 is supported.']],
  [
    'eula-missing',
    'vanilla',
    [
      '[12:00:00] [main/INFO]: You need to agree to the EULA in order to run the server. Go to eula.txt for more info.',
    ],
  ],
  [
    'world-locked',
    'vanilla',
    [
      '[12:00:00] [main/ERROR]: Failed to start the minecraft server',
      'net.minecraft.util.DirectoryLock$LockException: /srv/./world/session.lock: already locked (possibly by other Minecraft instance?)',
      '\tat net.minecraft.util.DirectoryLock.create(DirectoryLock.java:31)',
    ],
  ],
  ['world-corrupt', 'vanilla', ["[12:00:00] [Server thread/ERROR]: Couldn't load chunk [3, -7]"]],
  [
    'world-corrupt',
    'a region',
    ['[12:00:00] [IO-Worker-1/WARN]: Region file ./world/region/r.0.0.mca has truncated header: 512'],
  ],
  [
    'missing-dependency',
    'Paper',
    [
      "[12:00:00 ERROR]: [ModernPluginLoadingStrategy] Could not load 'plugins/Shop.jar' in 'plugins'",
      "org.bukkit.plugin.UnknownDependencyException: Unknown/missing dependency plugins: [Vault, Economy]. Please download and install these plugins to run 'Shop'.",
      '\tat io.papermc.paper.plugin.entrypoint.strategy.Load.run(Load.java:1)',
    ],
  ],
  [
    'missing-dependency',
    'an older Bukkit',
    [
      "[12:00:00] [Server thread/ERROR]: Could not load 'plugins/Shop.jar' in folder 'plugins'",
      'org.bukkit.plugin.UnknownDependencyException: Unknown dependency Vault. Please download and install Vault to run this plugin.',
    ],
  ],
  [
    'missing-dependency',
    'Forge',
    [
      '[24Nov2026 04:29:23.120] [main/ERROR] [net.minecraftforge.fml.loading.ModSorter/LOADING]: Missing or unsupported mandatory dependencies:',
    ],
  ],
  [
    'incompatible-mods',
    'Fabric',
    [
      '[12:00:00] [main/ERROR]: Incompatible mods found!',
      'net.fabricmc.loader.impl.FormattedException: Some of your mods are incompatible with the game or each other!',
      '\t - Install b, version 2 or later.',
    ],
  ],
  [
    'incompatible-mods',
    'Forge',
    [
      '[24Nov2026 04:29:23.120] [main/ERROR] [minecraft/Main/FATAL]: Failed to start FML',
      'java.lang.RuntimeException: Attempted to load class net/minecraft/client/gui/Screen for invalid dist DEDICATED_SERVER',
    ],
  ],
  [
    'tick-stalled',
    'vanilla',
    ['[12:00:00] [Server Watchdog/ERROR]: A single server tick took 60.00 seconds (should be max 0.05)'],
  ],
  [
    'tick-stalled',
    'Paper',
    ['[12:00:00 ERROR]: The server has not responded for 10 seconds! Creating thread dump'],
  ],
  [
    'overloaded',
    'vanilla',
    [
      "[12:00:00] [Server thread/WARN]: Can't keep up! Is the server overloaded? Running 2500ms or 50 ticks behind",
    ],
  ],
  [
    'crash-report',
    'vanilla',
    [
      '[12:00:00] [Server thread/ERROR]: This crash report has been saved to: /srv/crash-reports/crash-2026-11-24_04.29.23-server.txt',
    ],
  ],
];

describe('what a console says is wrong', () => {
  for (const [code, of, lines] of LOGS) {
    it(`${code}, of ${of}`, () => expect(codesIn(...lines)).to.deep.equal([code]));
  }

  it('is nothing while all is well', () => {
    const well = [
      '[12:00:00] [Server thread/INFO]: Done (12.345s)! For help, type "help"',
      '[12:00:00] [Server thread/WARN]: **** SERVER IS RUNNING IN OFFLINE/INSECURE MODE!',
      '[12:00:01] [Server thread/WARN]: Mallory moved too quickly! 1.0,2.0,3.0',
      '[12:00:01 WARN]: Legacy plugin Foo v1 does not specify an api-version.',
      'OpenJDK 64-Bit Server VM warning: something',
    ];
    expect(codesIn(...well)).to.deep.equal([]);
  });

  it('is never what people write', () => {
    const said = LOGS.flatMap(([, , lines]) =>
      lines.map(line => line.replace(/^\[[^\]]+\](?: \[[^\]]+\])*: /, '')),
    );
    for (const text of said) {
      const typed = [
        `[12:00:00] [Server thread/INFO]: <Mallory> ${text}`,
        `[12:00:00] [Async Chat Thread - #0/INFO]: [Not Secure] <Mallory> ${text}`,
        `[12:00:00 INFO]: <Mallory> ${text}`,
        `[12:00:00 INFO]: [Mallory] ${text}`,
        `[12:00:00] [Server thread/INFO]: * Mallory ${text}`,
        `[12:00:00] [Server thread/INFO]: Mallory issued server command: /say ${text}`,
        `[12:00:00] [Server thread/WARN]: Mallory lost connection: ${text}`,
      ];
      expect(codesIn(...typed), text).to.deep.equal([]);
    }
  });

  it('comes with its lines and with what to do', () => {
    const paper = LOGS.find(([code, of]) => code === 'missing-dependency' && of === 'Paper')?.[2] ?? [];
    const [missing] = causesIn(...paper);
    expect(missing?.suggestion).to.include('Install Vault, Economy');
    expect(missing?.evidence).to.deep.equal([paper[0]?.replace('[12:00:00 ERROR]: ', ''), ...paper.slice(1)]);
    const [java] = causesIn(
      'java.lang.UnsupportedClassVersionError: Main has been compiled by a more recent version of the Java Runtime (class file version 65.0)',
    );
    expect(java?.suggestion).to.include('needs Java 21: set java_version to 21; POST /agents/:id/java');
  });

  it('comes with no more than ten lines of 500 characters', () => {
    const trace = Array.from({ length: 500 }, (_, n) => `\tat ${'x'.repeat(900)}.run(${n})`);
    const [cause] = causesIn('java.lang.OutOfMemoryError: Java heap space', ...trace);
    expect(cause?.evidence).to.have.length(10);
    expect(Math.max(...(cause?.evidence ?? []).map(line => line.length))).to.equal(500);
  });
});
