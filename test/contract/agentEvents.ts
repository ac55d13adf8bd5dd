import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { ProcessState } from '#proto/gen/agent.js';
import { hear, linesOf, stopWork, type AgentDriver, type Heard } from './agentDriver.js';

/** The part of the contract about StreamEvents. */
export function describeAgentEvents(driver: () => AgentDriver): void {
  it('tells every change of a server, in order and without a hole', async () => {
    const { serverId } = driver();
    await driver().boot();
    await driver().run(driver().request(stopWork()));
    const { changes } = await hear(driver(), {}, ({ changes: seen }) =>
      seen.some(({ state, previous }) => previous === ProcessState.STOPPING && state?.serverId === serverId),
    );
    const path = changes
      .filter(({ previous, state }) => previous !== state?.state)
      .map(({ state }) => state?.state);
    expect(path).to.deep.equal([
      ProcessState.STARTING,
      ProcessState.RUNNING,
      ProcessState.STOPPING,
      ProcessState.STOPPED,
    ]);
  });

  it('goes on after a position in its journal, with neither gap nor repeat', async () => {
    await driver().boot();
    const first = await hear(driver(), {}, ready);
    const afterSeq = first.changes.at(-1)?.seq ?? 0;
    await driver().run(driver().request(stopWork()));
    const second = await hear(driver(), { afterSeq, journalId: first.journalId }, stopped);
    expect(second.journalId).to.equal(first.journalId);
    expect(second.changes.every(({ seq }) => seq > afterSeq)).to.equal(true);
    expect(second.changes[0]?.previous, 'the change right after').to.equal(ProcessState.RUNNING);
  });

  it('tells everything it keeps to a reader who brings another journal’s position', async () => {
    await driver().boot();
    const { changes } = await hear(driver(), { afterSeq: 1_000_000, journalId: randomUUID() }, ready);
    expect(changes[0]?.state?.state).to.equal(ProcessState.STARTING);
  });

  it('prints what commands do on the console, from the position that the reader has', async () => {
    const server = await driver().boot();
    const from = { runId: server.runId, offset: 0 };
    const marks = Array.from({ length: 20 }, () => randomUUID());
    for (const mark of marks.slice(0, 10)) await driver().send(`say ${mark}`);
    const first = await hearConsole(driver(), from, marks[9]);
    for (const mark of marks.slice(10)) await driver().send(`say ${mark}`);
    const last = first.chunks.at(-1);
    const second = await hearConsole(
      driver(),
      { runId: last?.runId ?? '', offset: last?.nextOffset ?? 0 },
      marks[19],
    );

    const chunks = [...first.chunks, ...second.chunks];
    for (const [index, chunk] of chunks.entries()) {
      expect(chunk.offset).to.equal(index === 0 ? 0 : chunks[index - 1]?.nextOffset);
      expect(chunk.droppedBytes).to.equal(0);
    }
    const lines = [...linesOf(first), ...linesOf(second)];
    const heard = marks.map(mark => lines.filter(line => line.includes(mark)).length);
    expect(
      heard.every(times => times === heard[0] && times > 0),
      'each mark as often as the others',
    ).to.equal(true);
  });

  it('begins at the present end of a console that the reader does not name', async () => {
    await driver().boot();
    const [early, late] = [randomUUID(), randomUUID()];
    await driver().send(`say ${early}`);
    await hearConsole(driver(), { runId: (await driver().state())?.runId ?? '', offset: 0 }, early);
    // Sent again and again: only once the stream stands is there a "later".
    const sending = setInterval(
      () =>
        void driver()
          .send(`say ${late}`)
          .catch(() => undefined),
      100,
    );
    const heard = await hear(driver(), {}, current =>
      linesOf(current).some(line => line.includes(late)),
    ).finally(() => clearInterval(sending));
    expect(linesOf(heard).join('\n')).to.not.include(early);
  });

  it('writes a command once that is sent twice with the same key', async () => {
    const server = await driver().boot();
    const [mark, end] = [randomUUID(), randomUUID()];
    const key = { opId: randomUUID(), step: 'command' };
    await driver().send(`say ${mark}`, key);
    await driver().send(`say ${mark}`, key);
    await driver().send(`say ${end}`);
    const heard = linesOf(await hearConsole(driver(), { runId: server.runId, offset: 0 }, end));
    const times = (text: string) => heard.filter(line => line.includes(text)).length;
    expect(times(mark)).to.equal(times(end));
  });
}

const ready = ({ changes }: Heard) => changes.some(({ state }) => state?.state === ProcessState.RUNNING);
const stopped = ({ changes }: Heard) => changes.some(({ state }) => state?.state === ProcessState.STOPPED);

function hearConsole(
  driver: AgentDriver,
  from: { runId: string; offset: number },
  until: string | undefined,
): Promise<Heard> {
  if (until === undefined) throw new Error('nothing to wait for');
  return hear(driver, { console: { [driver.serverId]: from } }, heard =>
    linesOf(heard).some(line => line.includes(until)),
  );
}
