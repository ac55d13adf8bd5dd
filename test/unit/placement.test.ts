import { expect } from 'chai';
import fc from 'fast-check';
import { installationOn } from '#src/domain/installation.js';
import { BALANCER_STRATEGIES, chooseAgent, type PlacementCandidate } from '#src/domain/placement.js';

function candidate(agentId: string, facts: Partial<PlacementCandidate> = {}): PlacementCandidate {
  return {
    id: `id-of-${agentId}`,
    agentId,
    servers: 0,
    maxServers: null,
    memoryReservedMb: 0,
    memoryTotalMb: 16_384,
    cpuCores: 4,
    ...facts,
  };
}

function chosen(candidates: PlacementCandidate[], request: Partial<Parameters<typeof chooseAgent>[1]>) {
  return chooseAgent(candidates, { strategy: 'least_load', memoryMb: 2048, lastAgentId: null, ...request })
    ?.agentId;
}

describe('placement', () => {
  it('least_load: the lowest share of promised memory wins, not the lowest amount', () => {
    const small = candidate('a', { memoryReservedMb: 4096, memoryTotalMb: 8192 });
    const big = candidate('b', { memoryReservedMb: 8192, memoryTotalMb: 65_536 });
    expect(chosen([small, big], {})).to.equal('b');
  });

  it('least_load: of equal shares the one with fewer servers a core', () => {
    const busy = candidate('a', { servers: 3, cpuCores: 4 });
    const idle = candidate('b', { servers: 3, cpuCores: 16 });
    expect(chosen([busy, idle], {})).to.equal('b');
  });

  it('least_load: an agent that has not told its memory comes last, and still gets a server when it is alone', () => {
    const unknown = candidate('a', { memoryTotalMb: null });
    expect(chosen([unknown, candidate('b', { memoryReservedMb: 90_000 })], {})).to.equal('b');
    expect(chosen([unknown], {})).to.equal('a');
  });

  it('least_connections: the fewest servers', () => {
    expect(
      chosen([candidate('a', { servers: 2 }), candidate('b', { servers: 1 })], {
        strategy: 'least_connections',
      }),
    ).to.equal('b');
  });

  it('round_robin: goes on after the agent that got the newest server, and round', () => {
    const agents = [candidate('c'), candidate('a'), candidate('b')];
    const turn = (lastAgentId: string | null) => chosen(agents, { strategy: 'round_robin', lastAgentId });
    expect([turn(null), turn('a'), turn('b'), turn('c'), turn('bb')]).to.deep.equal([
      'a',
      'b',
      'c',
      'a',
      'c',
    ]);
  });

  it('never takes an agent that is full, whatever the strategy', () => {
    for (const strategy of BALANCER_STRATEGIES) {
      const full = candidate('a', { servers: 3, maxServers: 3 });
      expect(chosen([full], { strategy }), strategy).to.equal(undefined);
      expect(chosen([full, candidate('b', { servers: 9 })], { strategy }), strategy).to.equal('b');
    }
  });

  it('chooses one whenever there is one that is not full, in any order of the candidates', () => {
    const anyCandidate = fc.record({
      id: fc.uuid(),
      agentId: fc.string(),
      servers: fc.nat(50),
      maxServers: fc.option(fc.nat(50)),
      memoryReservedMb: fc.nat(1_000_000),
      memoryTotalMb: fc.option(fc.nat(1_000_000)),
      cpuCores: fc.option(fc.integer({ min: 1, max: 128 })),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(anyCandidate, { selector: ({ agentId }) => agentId }),
        fc.constantFrom(...BALANCER_STRATEGIES),
        fc.option(fc.string()),
        (candidates, strategy, lastAgentId) => {
          const request = { strategy, memoryMb: 2048, lastAgentId };
          const winner = chooseAgent(candidates, request);
          const hasRoom = candidates.some(c => c.maxServers === null || c.servers < c.maxServers);
          expect(winner !== null).to.equal(hasRoom);
          expect(chooseAgent(candidates.toReversed(), request)).to.equal(winner);
        },
      ),
    );
  });
});

describe('what an agent can install', () => {
  const OLD = { can: ['version-1'] };
  const on = (
    capabilities: Record<string, unknown> | null,
    server_type: string,
    jar_url: string | null = null,
  ) => installationOn(capabilities, { server_type, jar_url });

  it('is everything, but for agents of version 1', () => {
    for (const capabilities of [null, {}, { can: ['work'] }, { can: 'version-1' }])
      for (const type of ['paper', 'spigot', 'forge']) expect(on(capabilities, type)).to.equal('by-agent');
  });

  it('is what it fetches by itself, or one jar that is put there by hand, for those', () => {
    for (const type of ['paper', 'purpur']) expect(on(OLD, type)).to.equal('by-agent');
    for (const type of ['vanilla', 'fabric', 'spigot']) expect(on(OLD, type)).to.equal('by-hand');
    expect(on(OLD, 'forge')).to.equal('impossible');
    expect(on(OLD, 'forge', 'https://example.test/forge.jar')).to.equal('by-hand');
  });
});
