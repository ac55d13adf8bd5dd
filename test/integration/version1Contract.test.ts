import { describeVersion1Contract } from '#test/contract/agentContract.js';
import { startVersion1ContractAgent } from '#test/contract/version1ContractAgent.js';

describeVersion1Contract('agent of version 1', startVersion1ContractAgent);
