package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// write is a change by a person, with etcdctl or through the API: it takes effect at once.
func (w *world) write(ops ...store.Op) {
	w.commitOf(w.person, ops)
	// Of several writes at once the watches would see as many as the Go scheduler lets be made before they look.
	w.sleep(w.exactly(0, "person", ops[0].Key))
}

func (w *world) commitOf(process *process, ops []store.Op) {
	w.commit.Lock()
	defer w.commit.Unlock()
	before := w.etcd.Revision()
	_, err := w.etcd.Commit(context.Background(), store.Txn{Ops: ops})
	if err != nil {
		w.tell("person", "cannot write %s: %v", w.short(ops[0].Key), err)
		return
	}
	if after := w.etcd.Revision(); after > before {
		w.writers[after] = writer{process: process}
	}
	if w.wrote != nil {
		w.wrote(ops)
	}
}

func (w *world) put(key, value string) { w.write(store.Op{Key: key, Value: []byte(value)}) }

func encode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// apps are the names of people's apps.
var apps = []string{"web", "api", "job", "pair", "every"}

// manifest is one of many versions of an app. Every version has a text of a different length, which also tells its files
// apart.
func manifest(app string, replicas, version, variant uint64) string {
	text := fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  replicas: %d\n  exec: {command: [/bin/%s, \"--version=%s\"]}\n",
		app, replicas, app, strings.Repeat("v", int(version)+1))
	const announced = "  announce: {port: http, ttl: 10s}\n" +
		"  healthCheck: {http: {path: /}, interval: 1s, timeout: 1s, unhealthyThreshold: 2}\n  update: {healthyDeadline: 40s, drainTimeout: 8s}\n"
	switch app {
	case "web":
		text += "  ports: [{name: http, port: 3000}]\n" + announced + hosts(app, variant)
		text += "  placement: {conflicts: [\"web@*.service\"]}\n"
		if variant%4 == 0 {
			text = strings.Replace(text, "\"web@*.service\"", "\"web@*.service\", \"job@*.service\"", 1)
		}
	case "api":
		text += "  ports: [{name: http, port: 4000}]\n" + announced + hosts(app, variant)
		switch variant % 4 {
		case 0:
			text += "  placement: {machineMetadata: {zone: a}}\n"
		case 1:
			text += "  placement: {spreadOver: zone}\n"
		}
	case "job":
		text += "  resources: {requests: {cpu: 500m, memory: 100M}}\n"
		if variant%4 == 0 {
			text = strings.Replace(text, "500m", "1500m", 1)
		}
	case "pair":
		text += "  placement: {machineOf: [\"job@%i.service\"]}\n"
	case "every":
		text = strings.Replace(text, fmt.Sprintf("replicas: %d", replicas), "global: true", 1)
		if variant%2 == 0 {
			text += "  placement: {conflicts: [\"api@*.service\"]}\n"
		}
	}
	return text
}

// hosts are the hosts that an app asks for: none, its own, or one that another app may have, too.
func hosts(app string, variant uint64) string {
	return []string{"", "", "  route: {hosts: [" + app + ".example.com]}\n", "  route: {hosts: [" + app + ".example.com, shared.example.com]}\n"}[variant/4%4]
}

const routerManifest = `apiVersion: fleet/v1
kind: App
metadata: {name: router}
spec:
  global: true
  exec: {command: ["%t/fleet/bin/router"]}
  ports: [{name: http, port: 8080}]
`

// brokenManifests change nothing.
var brokenManifests = []string{"", "{{{", "apiVersion: fleet/v1\nkind: App\nspec: {replicas: -1}\n", "apiVersion: fleet/v1\nkind: App\nmetadata: {name: other}\nspec: {}\n"}

type handMadeUnit struct{ name, text string }

// handMade are units that people submit without an app.
var handMade = []handMadeUnit{
	{"tool.service", "[Service]\nExecStart=/bin/tool\nRestart=always\n[X-Fleet]\nConflicts=web@*.service\nAutoPorts=http admin\n"},
	{"db@1.service", "[Service]\nExecStart=/bin/db\nRestart=always\n[X-Fleet]\nPorts=4000\nAutoPorts=http\nMemory=200M\n"},
	{"beside@1.service", "[Service]\nExecStart=/bin/beside\nRestart=always\n[X-Fleet]\nMachineOf=db@1.service\n"},
	{"low@1.service", "[Service]\nExecStart=/bin/low\nRestart=always\n[X-Fleet]\nPorts=5000\nMemory=300M\n"},
	{"low@2.service", "[Service]\nExecStart=/bin/low\nRestart=always\n[X-Fleet]\nPorts=5000\nMemory=300M\n"},
	{"high@1.service", "[Service]\nExecStart=/bin/high\nRestart=always\n[X-Fleet]\nReplaces=low@*.service\nMachineMetadata=zone=a\n"},
	{"watch.service", "[Service]\nExecStart=/bin/watch\nRestart=always\n[X-Fleet]\nGlobal=true\nConflicts=job@*.service\n"},
	{"fails@1.service", "[Service]\nExecStart=/bin/fails\n"},
	{"fails@2.service", "[Service]\nExecStart=/bin/fails\nRestart=always\n"}, // up to the start limit
	{"fails@3.service", "[Service]\nType=simple\n"},                          // systemd does not load it
	{"fails@4.service", "[Service\nExecStart=/bin/fails\n"},                  // it is unparsable
	{"fails@5.mount", "[X-Fleet]\nGlobal=true\n"},                            // systemd rejects every call that names it
}

// fails reports whether a hand-made unit never runs, and whether systemd starts it more than once by itself.
func fails(unit string) (never, again bool) {
	return strings.HasPrefix(unit, "fails@"), unit == "fails@2.service"
}

func (w *world) submit(which uint64, desired v1.DesiredState, requestedAt string) {
	w.submitUnit(handMade[which%uint64(len(handMade))], desired, requestedAt)
}

func (w *world) submitUnit(u handMadeUnit, desired v1.DesiredState, requestedAt string) {
	hash := unitfile.Hash(u.text)
	unit := v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: u.name},
		Spec: v1.UnitSpec{Hash: hash, DesiredState: desired, RequestedAt: requestedAt},
	}
	w.write(store.Op{Key: w.keys.UnitFiles().Key(hash), Value: []byte(u.text)}, store.Op{Key: w.keys.Units().Key(u.name), Value: encode(unit)})
}

// people are people's actions. The numbers of a step select the object.
var people = map[string]func(w *world, s step){
	"apply": func(w *world, s step) {
		app := apps[s.A%uint64(len(apps))]
		w.put(w.keys.Apps().Key(app), manifest(app, s.B%5, s.C%4, s.C/4))
	},
	"break": func(w *world, s step) {
		w.put(w.keys.Apps().Key(apps[s.A%uint64(len(apps))]), brokenManifests[s.B%uint64(len(brokenManifests))])
	},
	"delete": func(w *world, s step) {
		app := apps[s.A%uint64(len(apps))]
		w.write(store.Op{Key: w.keys.Apps().Key(app)})
		switch s.B % 4 { // and another app of that name, before any controller has seen the deletion
		case 0:
			w.put(w.keys.Apps().Key(app), manifest(app, s.B/4%5, s.C%4, s.C/4))
		case 1:
			w.put(w.keys.Apps().Key(app), brokenManifests[s.C%uint64(len(brokenManifests))])
		}
	},
	"stop": func(w *world, s step) {
		w.put(w.keys.Overrides().Key(instance(s)), string(encode(v1.Override{DesiredState: v1.Loaded})))
	},
	"start": func(w *world, s step) {
		w.put(w.keys.Overrides().Key(instance(s)), string(encode(v1.Override{DesiredState: v1.Launched, RequestedAt: time.Now().Format(time.RFC3339Nano)})))
	},
	"forget": func(w *world, s step) { // the override
		w.write(store.Op{Key: w.keys.Overrides().Key(instance(s))})
	},
	"submit": func(w *world, s step) {
		w.submit(s.A, []v1.DesiredState{v1.Launched, v1.Launched, v1.Loaded, v1.Inactive}[s.B%4], "")
	},
	"ask again": func(w *world, s step) { // for what may have failed
		if u := handMade[s.A%uint64(len(handMade))]; w.check.knows(u.name) {
			w.submit(s.A, v1.Launched, time.Now().Format(time.RFC3339Nano))
		}
	},
	"destroy": func(w *world, s step) {
		w.write(store.Op{Key: w.keys.Units().Key(handMade[s.A%uint64(len(handMade))].name)})
	},
	"configure": func(w *world, s step) {
		configs := []v1.MachineConfig{{Drain: true}, {Cordoned: true}, {Metadata: map[string]string{"zone": "a"}}, {Metadata: map[string]string{"zone": "b"}}}
		w.put(w.keys.MachineConfigs().Key(w.pick(s.A).id), string(encode(configs[s.B%uint64(len(configs))])))
	},
	"unconfigure": func(w *world, s step) {
		w.write(store.Op{Key: w.keys.MachineConfigs().Key(w.pick(s.A).id)})
	},
	"drain": func(w *world, s step) { // a machine that gets requests, if there is one
		h := w.pick(s.A)
		if announced := w.announced(); len(announced) > 0 {
			h = announced[s.A%uint64(len(announced))]
		}
		w.put(w.keys.MachineConfigs().Key(h.id), string(encode(v1.MachineConfig{Drain: true})))
	},
	"undrain": func(w *world, _ step) { // all
		for _, kv := range w.list(w.keys.MachineConfigs().Prefix()) {
			if config, err := w.keys.MachineConfigs().Decode(kv.Value); err == nil && config.Drain {
				w.write(store.Op{Key: kv.Key})
			}
		}
	},
	"etcdctl del": func(w *world, s step) { // keys that are not theirs; states only come back with their next change
		prefixes := []string{v1.DefaultAnnouncePrefix + "/", w.keys.Placements().Prefix(),
			w.keys.Leader(keyspace.Election) + "/", w.keys.Status().Prefix(), w.keys.Routers().Prefix(), w.keys.Machines().Prefix(), w.keys.Routes().Prefix()}
		if kvs := w.list(prefixes[s.A%uint64(len(prefixes))]); len(kvs) > 0 {
			w.write(store.Op{Key: kvs[s.B%uint64(len(kvs))].Key})
		}
	},
	"etcdctl put": func(w *world, s step) {
		keys := []string{w.keys.Placements().Key("stray"), w.keys.States().Key("m1/unknown.service"), w.keys.Units().Key("broken.service"),
			w.keys.Placements().Key("nowhere/unknown.service"), w.keys.Placements().Key("m1/unknown@1.slice"), v1.DefaultAnnouncePrefix + "/stray"}
		w.put(keys[s.A%uint64(len(keys))], []string{"{", "", "{}"}[s.B%3])
	},
}

// list is what a person sees below a prefix.
func (w *world) list(prefix string) []store.KV {
	page, _ := w.etcd.List(context.Background(), prefix, store.ListOptions{}) // it is reachable, and returns one page
	return page.KVs
}

// announced are the machines of all endpoints.
func (w *world) announced() []*host {
	var hosts []*host
	for _, kv := range w.list(v1.DefaultAnnouncePrefix + "/") {
		if h := w.hostOf(address(string(kv.Value))); h != nil {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

func instance(s step) string {
	app, n := apps[s.A%uint64(len(apps))], int32(s.B%3)+1
	if s.C%4 == 0 && app != "job" {
		return v1.SidekickUnit(app, n)
	}
	return v1.AppUnit(app, n)
}
