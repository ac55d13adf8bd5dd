// The rooms of the house and who may enter whom. Each rule's comment says where the code belongs instead.
const room = name => `^${name}/`;
const rooms = (...names) => `^(${names.join('|')})/`;

/** From `from` nothing in `to` may be reached, however many files lie between. */
const apart = (name, from, to, comment, except) => ({
  name,
  severity: 'error',
  comment,
  from: { path: from, ...(except && { pathNot: except }) },
  to: { path: to, reachable: true },
});

module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      severity: 'error',
      comment: 'Move what both need into a third file below them.',
      from: {},
      to: { circular: true },
    },
    apart(
      'domain-is-pure',
      room('src/domain'),
      rooms('src/(?!(domain)/)[^/]+', 'activities', 'processes', 'agent', 'proto', 'migrations'),
      'Rules take values. I/O and shapes of other rooms are handed in.',
    ),
    {
      name: 'domain-needs-nobody',
      severity: 'error',
      comment: 'Pure code needs no package.',
      from: { path: room('src/domain') },
      to: { dependencyTypes: ['npm', 'core'] },
    },
    apart(
      'contracts-see-domain',
      room('src/contracts'),
      rooms('src/(?!(contracts|domain)/)[^/]+', 'activities', 'processes', 'agent', 'migrations'),
      'What two processes agree on holds no implementation.',
    ),
    apart(
      'workflows-see-contracts',
      room('workflows'),
      rooms('src/(?!(contracts|domain)/)[^/]+', 'activities', 'processes', 'agent', 'proto', 'migrations'),
      'A workflow asks an activity; declare it in src/contracts/activities.ts.',
    ),
    {
      name: 'workflows-are-deterministic',
      severity: 'error',
      comment: 'Clock, network and files belong into an activity.',
      from: { path: room('workflows') },
      to: { dependencyTypes: ['core'] },
    },
    apart(
      'agent-stands-alone',
      room('agent'),
      rooms('src', 'activities', 'processes', 'workflows', 'migrations'),
      'An agent is shipped alone: share by proto/agent.proto.',
    ),
    apart(
      'nobody-imports-the-agent',
      rooms('src', 'activities', 'workflows', 'processes'),
      room('agent'),
      'Talk to it through src/agents/gateway.ts.',
    ),
    apart(
      'nobody-imports-processes',
      rooms('src', 'activities', 'workflows', 'agent', 'migrations'),
      room('processes'),
      'Singletons are made in processes and handed down as deps.',
    ),
    apart(
      'activities-are-not-imported',
      rooms('src', 'workflows', 'agent'),
      room('activities'),
      'Share rules by src/domain, shapes by src/contracts.',
    ),
    apart(
      'http-is-the-top',
      rooms(
        'src/(db|agents|bus|mail|marketplace|provisioning|storage|operations|realtime|security|observability)',
        'activities',
      ),
      room('src/http'),
      'Routes call down; nobody calls a route.',
    ),
    apart(
      'realtime-is-for-processes',
      rooms('src/(db|agents|bus|mail|provisioning|operations|security|observability|http)', 'activities'),
      room('src/realtime'),
      'Publish on the bus; realtime listens.',
    ),
    apart(
      'the-proxy-is-for-processes',
      rooms('src/(?!(grpcProxy)/)[^/]+', 'activities', 'workflows'),
      room('src/grpcProxy'),
      'It stands beside http and realtime; nobody calls it.',
    ),
    apart(
      'the-proxy-calls-down',
      room('src/grpcProxy'),
      rooms('src/(http|realtime)'),
      'What http and the proxy share belongs below both, or is handed in.',
    ),
    apart(
      'operations-calls-down',
      rooms('src/(db|agents|bus|mail|provisioning|security|observability)'),
      room('src/operations'),
      'Needs an operation? That decision belongs into activities or http.',
    ),
    ...['db', 'agents', 'bus', 'mail', 'provisioning'].map(name => ({
      name: `${name}-and-its-neighbours`,
      severity: 'error',
      comment: 'Rooms between two arrows meet in activities, operations or http.',
      from: { path: room(`src/${name}`) },
      to: {
        path: rooms('src/(db|agents|bus|mail|provisioning|marketplace|storage)'),
        pathNot: room(`src/${name}`),
      },
    })),
    {
      name: 'config-is-handed-down',
      severity: 'error',
      comment: 'Take a narrow slice as a parameter; processes read the settings.',
      from: { path: rooms('src/(?!(config)/)[^/]+', 'activities', 'workflows', 'agent') },
      to: { path: '^src/config' },
    },
    {
      name: 'only-the-agent-and-the-proxy-speak-grpc-as-a-server',
      severity: 'error',
      comment: 'Calls to agents go through src/agents.',
      from: { path: rooms('src/(?!(agents|grpcProxy)/)[^/]+', 'activities', 'workflows') },
      to: { path: 'node_modules/@grpc/' },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: 'proto/gen' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
