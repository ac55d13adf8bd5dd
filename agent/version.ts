/** Of the agent, told by Hello and GetAgentInfo. The wire's version 2 begins at 2.0.0. */
export const AGENT_VERSION = '2.0.0';
