import Joi from 'joi';
import { OPERATION_EVENT_TYPES } from '#src/contracts/operation.js';
import { RESOLUTIONS, type OperatorResolution } from '#src/contracts/workflows.js';
import {
  OPERATION_KINDS,
  OPERATION_STATES,
  OPERATION_TRIGGERS,
  type OperationKind,
  type OperationState,
} from '#src/domain/operation.js';
import { SERVER_STATUSES } from '#src/domain/serverState.js';
import { anyText, integer, named, time, uuid } from '../fields.js';
import { listQuery, type PageQuery } from '../paging.js';

const progress = Joi.object({
  phase: anyText().required(),
  percent: Joi.number().min(0).max(100).allow(null).required(),
  message: anyText().required(),
  bytes_done: integer().allow(null).required(),
  bytes_total: integer().allow(null).required(),
});
const failure = Joi.object({ code: Joi.string().required(), detail: anyText().required() });

export const operation = named(
  'Operation',
  Joi.object({
    id: uuid().required(),
    kind: Joi.string()
      .valid(...OPERATION_KINDS)
      .required(),
    state: Joi.string()
      .valid(...OPERATION_STATES)
      .required(),
    server_id: uuid().allow(null).required(),
    agent_id: uuid().allow(null).required(),
    requested_by: uuid().allow(null).required(),
    trigger: Joi.string()
      .valid(...OPERATION_TRIGGERS)
      .required(),
    progress: progress.allow(null).required(),
    error: failure.allow(null).required(),
    superseded_by: uuid().allow(null).required().description('The newer operation that took its place'),
    cancel_requested_at: time().allow(null).required(),
    workflow_id: anyText().required(),
    run_id: anyText().allow(null).required(),
    created_at: time().required(),
    started_at: time().allow(null).required(),
    finished_at: time().allow(null).required().description('Null until it has ended'),
  }),
);
export const operations = Joi.array().items(operation);

const event = named(
  'OperationEvent',
  Joi.object({
    operation_id: uuid().required(),
    seq: integer().required().description('From 1, without holes'),
    server_id: uuid().allow(null).required(),
    server_seq: integer().allow(null).required().description('Its place among all events of the server'),
    type: Joi.string()
      .valid(...OPERATION_EVENT_TYPES)
      .required(),
    data: Joi.object({
      status: Joi.string().valid(...SERVER_STATUSES),
      previous_status: Joi.string().valid(...SERVER_STATUSES),
      progress,
      error: failure,
      superseded_by: uuid(),
      reason: anyText(),
    }).required(),
    at: time().required(),
  }),
);
export const events = Joi.array().items(event);

export interface OperationListQuery extends PageQuery {
  server_id?: string;
  kind?: OperationKind;
  state?: OperationState;
}
export const list = listQuery<OperationListQuery>({
  server_id: uuid(),
  kind: Joi.string().valid(...OPERATION_KINDS),
  state: Joi.string().valid(...OPERATION_STATES),
});

export interface EventsQuery {
  after_seq: number;
  limit: number;
}
export const eventsQuery = Joi.object<EventsQuery, true>({
  after_seq: Joi.number().integer().min(0).max(2_147_483_647).default(0).description('Only those after it'),
  limit: Joi.number().integer().min(1).max(500).default(500),
});

export type ResolutionInput = Omit<OperatorResolution, 'by'>;
export const resolution = Joi.object<ResolutionInput, true>({
  action: Joi.string()
    .valid(...RESOLUTIONS)
    .required()
    .description('retry and compensate run the undo again; close ends it as it is'),
  note: Joi.string().max(2000).allow('').default('').description('Why, for the record'),
});
