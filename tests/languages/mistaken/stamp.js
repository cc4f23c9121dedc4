// A plugin with a mistake in it, for what an operator is told then.

function configure({ config }) {
  return JSON.parse(config).nothing.here;
}

export const handler = { configure, process: () => ({ tag: "forward" }) };
