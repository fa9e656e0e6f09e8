// Every method of node-vault, on KV version 2 and version 1.
const assert = require('node:assert/strict');
const vault = require('node-vault')();

const status = (code) => (err) => err.response && err.response.statusCode === code;

async function version2() {
  const data = async (query = '') => (await vault.read(`abeja/data/node_v2${query}`)).data.data;

  await assert.rejects(data(), status(404));
  const first = { user: 'app', port: 5432, tls: { verify: true } };
  const made = await vault.write('abeja/data/node_v2', { data: first, options: { cas: 0 } });
  assert.equal(made.data.version, 1);
  assert.deepEqual(await data(), first);
  await assert.rejects(vault.write('abeja/data/node_v2', { data: {}, options: { cas: 0 } }), (err) =>
    status(400)(err) && /check-and-set parameter did not match the current version/.test(err.message));

  const patched = await vault.update('abeja/data/node_v2', { data: { user: 'web', port: null } });
  assert.equal(patched.data.version, 2);
  assert.deepEqual(await data(), { user: 'web', tls: { verify: true } });
  assert.deepEqual(await data('?version=1'), first);
  assert.deepEqual((await vault.read('abeja/subkeys/node_v2')).data.subkeys, { user: null, tls: { verify: null } });

  await vault.delete('abeja/data/node_v2');
  await assert.rejects(data(), status(404));
  await vault.write('abeja/undelete/node_v2', { versions: [2] });
  assert.equal((await data()).user, 'web');
  await vault.write('abeja/delete/node_v2', { versions: [1] });
  await assert.rejects(data('?version=1'), status(404));
  await vault.write('abeja/destroy/node_v2', { versions: [1] });

  await vault.write('abeja/metadata/node_v2', { custom_metadata: { description: 'of the web server' } });
  const metadata = (await vault.read('abeja/metadata/node_v2')).data;
  assert.equal(metadata.current_version, 2);
  assert.equal(metadata.versions[1].destroyed, true);
  assert.deepEqual(metadata.custom_metadata, { description: 'of the web server' });
  await vault.update('abeja/metadata/node_v2', { custom_metadata: { description: null } });
  assert.equal((await vault.read('abeja/metadata/node_v2')).data.custom_metadata, null);
  assert.ok((await vault.list('abeja/metadata')).data.keys.includes('node_v2'));
  await vault.delete('abeja/metadata/node_v2');
  await assert.rejects(vault.read('abeja/metadata/node_v2'), status(404));
}

async function version1() {
  await vault.write('abeja/secrets/node_v1', { value: 'first', description: 'of the web server' });
  await vault.write('abeja/secrets/node_v1', { value: 'second' });
  const { data } = await vault.read('abeja/secrets/node_v1');
  assert.equal(data.value, 'second');
  assert.equal(data.version, 2);
  await vault.update('abeja/secrets/node_v1', { description: null });
  assert.equal((await vault.read('abeja/secrets/node_v1')).data.description, null);
  assert.ok((await vault.list('abeja/secrets')).data.keys.includes('node_v1'));
  await vault.delete('abeja/secrets/node_v1');
  await assert.rejects(vault.read('abeja/secrets/node_v1'), status(404));
}

version2().then(version1).catch((err) => {
  console.error(err);
  process.exit(1);
});
