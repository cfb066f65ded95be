package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

const apiIntro = `# HTTP API

<!-- Generated from internal/api by hack/update-generated.sh. Do not edit. -->

fleetctl does nothing that this API does not offer. It is on fleetd's socket, ` + "`/run/fleet.sock`" + `, and on the addresses of ` + "`listen`" + `:

` + "```" + `
curl --unix-socket /run/fleet.sock http://fleetd` + wire.Prefix + `/apps
` + "```" + `

Any fleetd answers for the whole cluster. Objects are JSON; an App may be sent as YAML and is stored as it was sent. A listing takes
` + "`labelSelector`, `limit` and `continue`" + `; with ` + "`watch=true&resourceVersion=N`" + ` it then streams changes, one JSON object per line. A write
with ` + "`dryRun=true`" + ` checks and stores nothing. The answer to a write, and every error, has a ` + "`reason`" + ` of [Reasons and events](../reasons.md#answers-of-the-api).

## Paths

Below ` + "`" + wire.Prefix + "`" + `:

| path | methods | what it is |
|---|---|---|
`

const apiNotes = `
Beside them are ` + "`/version`, `/healthz`, `/readyz` and `/metrics`" + `.

## The API of fleet 1.0

Clients of the original fleet find its API below ` + "`/fleet/v1`, and below `/v1-alpha`" + `:

| path | methods | codes |
|---|---|---|
| ` + "`/units`, `/state`" + ` (` + "`machineID`, `unitName`" + `), ` + "`/machines`" + ` | GET | 200; 400 for a bad ` + "`nextPageToken`" + `. A page has ` + "`token_limit`" + ` entries. |
| ` + "`/units/{name}`, `/state/{name}`" + ` | GET | 200, 404 |
| ` + "`/units/{name}`" + ` | PUT | 201 for a new unit or other options, 204 for another state; 400 for what is not valid, 409 for a new unit without options or an existing one without ` + "`desiredState`" + `, 415 unless it is ` + "`application/json`" + ` |
| ` + "`/units/{name}`" + ` | DELETE | 204, 404 |
| ` + "`/machines`" + ` | PATCH | 204, 400. A JSON Patch of ` + "`/<machine>/metadata/<name>`" + `: ` + "`add`, `replace` and `remove`" + `. |
| ` + "`/discovery`" + ` | GET | 200 |
| any | any | 405 for other methods; 503 while etcd does not answer, or while another machine has this one's ID |

- Options that say the same as the stored ones change nothing, whatever comments the stored file has. Fields that this API does not have
  are ignored.
- Other options without ` + "`desiredState`" + ` make the unit inactive, as in fleet 1.0: clients load or launch it afterwards.
- ` + "`currentState`" + ` is what the unit's machine reports, and lags behind: for two seconds after a stop a unit still counts as launched. The
  original's ` + "`fleetctl restart`" + ` would miss a shorter time, and wait for ever. A global unit has none.
- ` + "`/state`" + ` leaves out machines that are not present.
- Errors are ` + "`{\"error\":{\"code\":409,\"message\":\"...\"}}`" + `.

## Limits

| what | at most | then |
|---|---|---|
| readers of one machine's journal (` + "`fleetctl logs`" + `) | 16 | 429; ` + "`journalctl -u UNIT`" + ` on the machine still works |
| watches and logs of one client, of one fleetd | 128, 512 | 429 |
| connections to one socket | 1,024 | further ones wait |
| a request | 1.5 MB, its header 64 kB; a saved plan 32 MB | 413, 431 |
| plans that are made at once | 1, others wait for 5 s | 429 |
| a plan | 20 s, clusters of 250,000 keys and 256 MB | 422 |
| one apply | 128 operations of etcd (an App is one, a Unit two, the record one), 1.45 MB | 413 |
| a manifest whose text is kept for undo | 128 KiB | larger ones are stored, but not kept |
| reported problems of a manifest or unit file | 100 | the rest is counted |
`

// pathDocs describe the paths.
var pathDocs = map[string]string{
	"/apps":                           "All apps, with their status.",
	"/apps/{name}":                    "One app; PUT stores a manifest as it is sent.",
	"/apps/{name}/explain":            "Why the units of an app are where they are, or on no machine, and what would change that.",
	"/apps/{name}/diff":               "What differs between two revisions, before and after: from, to.",
	"/apps/{name}/endpoints":          "The app's endpoints.",
	"/apps/{name}/restart":            "Restarts all instances, one after the other.",
	"/apps/{name}/revisions":          "The app's history: time, user, change and outcome of each revision.",
	"/apps/{name}/revisions/{number}": "One revision with its manifest; as `application/yaml`, the manifest's bytes.",
	"/apps/{name}/rollout":            "How far the newest revision is. POST pauses, resumes or aborts: `{\"action\": \"pause\"}`.",
	"/apps/{name}/scale":              "Sets the number of instances in the stored manifest: `{\"replicas\": 3}`.",
	"/apps/{name}/undo":               "Stores the manifest of an earlier revision again: `{\"to\": 3}`.",
	"/applies":                        "Who wrote manifests, and what was before. POST stores Apps, Units and Sources in one transaction, all or none: `{\"manifests\": [\"...\"]}`; with `diff=true` it says what would change.",
	"/applies/{name}":                 "One apply by its ID.",
	"/plans":                          "What would happen if manifests were applied, objects deleted, or machines were drained, lost or added: `{\"manifests\": [\"...\"], \"delete\": [\"app/...\"], \"whatIf\": {\"lose\": [\"...\"]}}`. With `{\"whatIf\": {\"source\": {\"name\": \"...\", \"files\": [{\"path\": \"...\", \"text\": \"...\"}]}}}`, what a source would do whose repository had these files, all of them below its path; `commit` beside them says which commit has them. Nothing is stored. One plan is made at a time. Any fleetd has the leader make it, and likewise explanations: since when machines are missed is known to it alone. Where it does not listen on TCP or does not answer, the fleetd that was asked makes it, and with a machine missed it says so in the header `Warning`.",
	"/units/{name}/trace":             "The way of a unit from its commit to what the routers serve: each step with its key and that key's revision.",
	"/sources":                        "Git repositories: the manifest, the status and what people have asked of each. They are stored like apps, with POST /applies.",
	"/sources/{name}":                 "One source. DELETE needs `?objects=keep` or `?objects=prune`: what becomes of what it has applied.",
	"/sources/{name}/diff":            "How what is stored differs from the commit that the source has applied, object by object, and why. Only the leader reads repositories: any fleetd asks it.",
	"/sources/{name}/wish":            "Asks for a look at the repository now, suspends, resumes, adopts or disowns: `{\"action\": \"sync\"}`.",
	"/plans/apply":                    "Does what a saved plan says and nothing else: `{\"plan\": {...}}`. PlanOutdated if something else would happen now.",
	"/applies/{name}/undo":            "Takes back everything that the apply changed.",
	"/units":                          "All units, with their machines and phases.",
	"/units/{name}":                   "One unit; PATCH sets its desired state. PUT and DELETE are refused for units of an app.",
	"/units/{name}/explain":           "Why the unit is where it is, or on no machine, and what would change that; `machine=` gives every reason why it is not there.",
	"/units/{name}/file":              "The unit's file, byte for byte.",
	"/units/{name}/load":              "Places the unit without starting it.",
	"/units/{name}/logs":              "The unit's journal: follow, lines, since, machine.",
	"/units/{name}/restart":           "Restarts the unit.",
	"/units/{name}/start":             "Starts the unit.",
	"/units/{name}/statustext":        "What the unit's process says of itself now (`STATUS=` of sd_notify(3)), asked of systemd on its machine: machine.",
	"/units/{name}/stop":              "Stops the unit; it stays on its machine.",
	"/units/{name}/unload":            "Stops the unit and takes it off its machine.",
	"/unitfiles":                      "All unit files.",
	"/unitfiles/{hash}":               "One unit file by its SHA-256.",
	"/machines":                       "The machines that are present.",
	"/machines/{name}":                "One machine; PATCH sets cordon, drain and metadata.",
	"/machines/{name}/config":         "A machine's configuration, whether it is present or not.",
	"/events":                         "What happened.",
	"/states":                         "What systemd reports of each unit on each machine.",
	"/endpoints":                      "All endpoints.",
}

// apiOf generates the table of the API's paths from internal/api and pathDocs.
func apiOf(top string) ([]byte, error) {
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, filepath.Join(top, "internal/api/api.go"), nil, 0)
	if err != nil {
		return nil, err
	}
	paths := map[string][]string{}
	ast.Inspect(syntax, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, isText := pair.Key.(*ast.BasicLit)
		value, isList := pair.Value.(*ast.CompositeLit)
		if !isText || !isList {
			return true
		}
		path, _ := strconv.Unquote(key.Value)
		for _, element := range value.Elts {
			if method, ok := element.(*ast.KeyValueExpr); ok {
				if name, ok := method.Key.(*ast.Ident); ok {
					paths[path] = append(paths[path], strings.ToUpper(strings.Replace(name.Name, "del", "delete", 1)))
				}
			}
		}
		return false
	})
	out := bytes.NewBufferString(apiIntro)
	var wrong []error
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if pathDocs[path] == "" {
			wrong = append(wrong, fmt.Errorf("hack/gen/api.go has no description of %s", path))
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", path, strings.Join(paths[path], ", "), pathDocs[path])
	}
	for _, path := range slices.Sorted(maps.Keys(pathDocs)) {
		if paths[path] == nil {
			wrong = append(wrong, fmt.Errorf("hack/gen/api.go describes %s, which is not in internal/api/api.go", path))
		}
	}
	out.WriteString(apiNotes)
	return out.Bytes(), errors.Join(wrong...)
}
