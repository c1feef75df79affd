// Loaded before a test file of node-postgres (node --require): its runner ends the process at the
// first test that fails, so that the others would count as failed. Here the next one runs.
'use strict'

const Module = require('node:module')

const load = Module._load
let current = null

// What is thrown in a callback belongs to the test that is running.
function failed(error) {
  if (current === null) {
    console.error(error)
    process.exit(1)
  }
  current(error)
}

function run(test, done) {
  process.removeAllListeners('uncaughtException')
  process.removeAllListeners('unhandledRejection')
  process.on('uncaughtException', failed)
  process.on('unhandledRejection', failed)
  if (!test.action) {
    process.stdout.write(`\n  ${test.name} ? - SKIPPED\n`)
    return done()
  }
  const finish = (error) => {
    if (current !== finish) return
    current = null
    clearTimeout(timer)
    const mark = error ? `FAILED!\n\n${error.stack || error}` : '✔'
    process.stdout.write(`\n  ${test.name} ${mark}\n`)
    if (error) process.exitCode = 1
    done()
  }
  current = finish
  const late = () => finish(new Error(`${test.name} did not complete within 5000ms`))
  const timer = setTimeout(late, 5000)
  test.run(finish)
}

Module._load = function (request, ...rest) {
  const loaded = load.call(this, request, ...rest)
  if (/(^|\/)suite(\.js)?$/.test(request) && loaded.prototype && loaded.prototype.run !== run) {
    loaded.prototype.run = run
  }
  return loaded
}
