import { describeAgentContract } from '#test/contract/agentContract.js';
import { makeShellAgent } from '#test/harness/shellAgent.js';

describeAgentContract('reference agent', () => makeShellAgent());
