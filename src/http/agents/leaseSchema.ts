import Joi from 'joi';
import { boolean, integer, named, time, uuid } from '../fields.js';

/** The longest `agents.agent_id`. */
export const AGENT_ID_MAX = 100;
const MAX_SERVERS = 1000;
const STATES = ['stopped', 'starting', 'running', 'stopping', 'crashed', 'unknown'] as const;
const epoch = () => integer().min(0);

export interface ReportedServer {
  id: string;
  epoch: number;
  state: (typeof STATES)[number];
}

export interface LeaseRenewal {
  agent_id: string;
  boot_id: string;
  incarnation: string;
  servers: ReportedServer[];
}
export const renewal = Joi.object<LeaseRenewal, true>({
  agent_id: Joi.string()
    .max(AGENT_ID_MAX)
    .required()
    .example('fra-12')
    .description('Its agent_id, or the id of its row'),
  boot_id: uuid().required().description('Of the running kernel'),
  incarnation: uuid().required().description('Of the agent process'),
  servers: Joi.array()
    .max(MAX_SERVERS)
    .items(
      Joi.object<ReportedServer, true>({
        id: uuid().required(),
        epoch: epoch()
          .required()
          .description('Of the run that goes on, else the highest that the agent has accepted'),
        state: Joi.string()
          .valid(...STATES)
          .required(),
      }),
    )
    .required(),
});

export const lease = named(
  'Lease',
  Joi.object({
    lease_seq: integer().required(),
    ttl_ms: integer().required(),
    renew_ms: integer().required(),
    servers: Joi.array()
      .items(Joi.object({ id: uuid().required(), epoch: epoch().required(), leased: boolean().required() }))
      .required(),
    stale: Joi.array()
      .items(Joi.object({ id: uuid().required(), epoch: epoch().required() }))
      .required(),
  }),
);

/** How an agent's lease stands, in the view of the agent. */
export const leaseOfAgent = Joi.object({
  seq: integer().required().description('How often it has been granted'),
  renewed_at: time().allow(null).required(),
  frozen: boolean().required().description('No more grants: its servers have been or are being handed on'),
  ttl_ms: integer().required(),
  servers: integer().required().description('How many servers live under it'),
})
  .allow(null)
  .required()
  .description('Null: the agent can’t lease');
