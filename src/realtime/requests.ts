import Joi from 'joi';
import type { CommandRequest, SubscribeRequest } from '#src/contracts/events.js';
import { AppError } from '#src/domain/errors.js';

/** What a client may watch at once, and so ask for at once. */
export const MAX_CHANNELS = 200;
/** The agent takes lines of at most 4 KiB with their newline. */
const MAX_COMMAND_BYTES = 4_095;

const channel = Joi.string().max(64);
const channels = Joi.array().items(channel).min(1).max(MAX_CHANNELS).required();
const after = Joi.object().pattern(channel, Joi.string().max(512)).max(MAX_CHANNELS);

const subscribe = Joi.object<SubscribeRequest>({ channels, after }).required().label('subscribe');
const unsubscribe = Joi.object<{ channels: string[] }>({ channels }).required().label('unsubscribe');
const command = Joi.object<CommandRequest>({
  server_id: Joi.string().guid().lowercase().required(),
  command: Joi.string()
    .max(MAX_COMMAND_BYTES, 'utf8')
    .pattern(/^[^\r\n\0]*$/, 'one line')
    .required(),
})
  .required()
  .label('command');

/** What clients send, narrowed; each throws `invalid-request`. */
export const parseSubscribe = (input: unknown) => parse(subscribe, input);
export const parseUnsubscribe = (input: unknown) => parse(unsubscribe, input);
export const parseCommand = (input: unknown) => parse(command, input);

function parse<T>(schema: Joi.ObjectSchema<T>, input: unknown): T {
  const result = schema.validate(input, { convert: false, abortEarly: false });
  if (!result.error) return result.value;
  throw new AppError('invalid-request', {
    detail: result.error.message,
    errors: result.error.details.map(({ path, message }) => ({ path: path.join('.'), message })),
  });
}
