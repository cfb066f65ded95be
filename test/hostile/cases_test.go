package hostile

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

const sleeping = "[Service]\nExecStart=/bin/sleep infinity\n"

// manifest is a bad manifest sent both ways: the API refuses it, with those texts in its answer; put with etcdctl, past the
// API, it leads to a status with them.
func manifest(title, name, text string, texts ...string) hostile {
	return hostile{title, func(l *lab) {
		l.refused("PUT", "/apis/fleet/v1/apps/"+url.PathEscape(name), text, texts...)
		l.raw(keys.Apps().Key(name), text)
	}, one(append([]string{"/status/" + name + " "}, texts...)...)}
}

// refused sends a request and requires a client error with those texts.
func (l *lab) refused(method, path, body string, texts ...string) {
	l.t.Helper()
	code, answer := l.request(method, path, body)
	require.GreaterOrEqual(l.t, code, 300, answer) // a path with dots in it is redirected
	require.Less(l.t, code, 500, answer)
	require.Less(l.t, len(answer), 100_000)
	for _, text := range texts {
		if code == 307 {
			break
		}
		require.Contains(l.t, answer, text)
	}
}

var manifests = []hostile{
	{"a manifest of 2 MB", func(l *lab) {
		text := app("huge", "description: "+strings.Repeat("x", 2<<20))
		l.refused("PUT", "/apis/fleet/v1/apps/huge", text, "bytes")
		_, err := l.try(keys.Apps().Key("huge"), text)
		require.Error(l.t, err, "etcd takes no such value")
	}, nil},
	manifest("a manifest as large as etcd takes", "large", app("large", "description: "+strings.Repeat("x", 1_200_000)), "bytes, the limit is"),
	manifest("10,000 aliases", "aliases", app("aliases", "env: &a {A: b}", "x: ["+strings.Repeat("*a,", 10_000)+"]"), "spec.x", "unknown field"),
	manifest("aliases of aliases", "bomb", bomb(), "a8", "unknown field"),
	manifest("deep nesting in YAML", "deep", app("deep", "x: "+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)), "spec.x", "unknown field"),
	manifest("deeper nesting in JSON", "deeper", `{"apiVersion":"fleet/v1","kind":"App","metadata":{"name":"deeper"},"spec":`+
		strings.Repeat(`{"a":`, 50_000)+"1"+strings.Repeat("}", 50_000)+"}", "not YAML: exceeded max depth"),
	manifest("two ports of one name", "ports", app("ports", "ports: [{name: a, port: 1}, {name: a, port: 2}]"), "spec.ports[1].name", "already used by spec.ports[0]"),
	manifest("replicas -1", "minus", app("minus", "replicas: -1"), "spec.replicas", "-1 is negative"),
	manifest("replicas 10 million", "many", app("many", "replicas: 10000000"), "spec.replicas", "too many"),
	manifest("replicas beyond numbers", "more", app("more", "replicas: 99999999999999999999999"), "spec.replicas", "99999999999999999999999 is out of range"),
	manifest("broken YAML", "broken", "apiVersion: fleet/v1\nkind: App\n  x: [", "not YAML"),
	manifest("nothing", "nothing", "\n", "the manifest is empty"),
	manifest("NUL", "nul", app("nul", "description: \"a\\0b\""), "control character"),
	manifest("no text", "bytes", "\xff\xfe\x00\x01", "expected a mapping"),
	manifest("a header that breaks out", "header", app("header", "ports: [{port: 80}]", "announce: {}",
		`healthCheck: {http: {path: "/ HTTP/1.0\r\nHost: evil\r\n"}}`), "spec.healthCheck.http.path", "is not a valid path"),
	manifest("a host that breaks out", "host", app("host", "ports: [{port: 80}]", "announce: {}",
		`route: {hosts: ["x; } server {"]}`), "spec.route.hosts[0]", "not a valid host name"),
	{"a variable that breaks out", func(l *lab) { // valid: it is quoted, with its line breaks
		l.apply(app("variable", `env: {A: "b\n[Service]\nExecStartPre=/bin/evil"}`))
		l.await("the app runs", func() string { return l.notReady("variable") })
		for _, kv := range l.list(keys.UnitFiles().Prefix()) {
			file, err := unitfile.Parse(string(kv.Value))
			require.NoError(l.t, err)
			require.Empty(l.t, file.Values("Service", "ExecStartPre"), "%s", kv.Value)
		}
	}, nil},
	manifest("a specifier that does not exist", "specifier", strings.Replace(app("specifier"), "infinity", "'%z'", 1), "does not begin a systemd specifier"),
}

// bomb is a text of 10 levels of 10 aliases each.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: fleet/v1\nkind: App\nmetadata: {name: bomb}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	return b.String() + "spec: *a9\n"
}

// running is in the state of a healthy unit.
const running = `"activeState":"active"`

var names = func() (list []hostile) {
	const unplaced, states, letters = "/unplaced/", "/states/m1/", "is not one of A-Z a-z 0-9"
	for _, n := range []struct{ title, name, row, says string }{
		{"a slash", "a/b", unplaced, letters},
		{"dots", "..", states, running}, // it is not a path component: "...service" is a name
		{"dots and slashes", "../../etc/passwd", unplaced, letters},
		{"a line break", "a\nb", unplaced, letters},
		{"a control character", "a\x01b", unplaced, letters},
		{"300 characters", strings.Repeat("a", 300), unplaced, "308 characters, at most 255"},
		{"a server block", "x; } server {", unplaced, letters},
		{"a space", " ", unplaced, letters},
		{"an at sign", "a@1", states, running},
		{"bad UTF-8", "a\xffb", unplaced, letters},
	} {
		quoted := fmt.Sprintf("%q", n.name)
		list = append(list, hostile{"an app's name with " + n.title, func(l *lab) {
			text := strings.Replace(app("NAME"), "NAME", quoted, 1)
			l.refused("PUT", "/apis/fleet/v1/apps/"+url.PathEscape(n.name), text)
			l.raw(keys.Apps().Key(n.name), text)
			l.raw(keys.Apps().Key(n.name+"x"), app("ok"))
		}, one(keys.Status().Key(n.name)+" ", "metadata.name", "is not a valid name")})
		unit := n.name + ".service"
		list = append(list, hostile{"a unit's name with " + n.title, func(l *lab) {
			if n.title != "an at sign" {
				l.refused("PUT", "/apis/fleet/v1/units/"+url.PathEscape(unit), `{"apiVersion":"fleet/v1","kind":"Unit","spec":{"contents":"x"}}`)
				l.refused("PUT", "/fleet/v1/units/"+url.PathEscape(unit), `{"desiredState":"launched","options":[]}`)
			}
			l.unit(unit, sleeping)
			l.raw(keys.Overrides().Key(unit), `{"desiredState":"loaded"}`)
			l.raw(keys.Unplaced().Key(unit), `{}`)
			l.raw(keys.Placements().Key(machine+"/"+unit), `{"hash":"`+unitfile.Hash(sleeping)+`","desiredState":"launched"}`)
			l.raw(keys.States().Key(machine+"/"+unit), `{}`)
		}, one(n.row+unit+" ", n.says)})
	}
	return list
}()

// unitFile puts a unit file as keys: whatever systemd makes of it, only this unit is affected.
func unitFile(title, name, text string, says ...string) hostile {
	return hostile{title, func(l *lab) { l.unit(name, text) }, one(says...)}
}

var unitFiles = []hostile{
	unitFile("a unit file with no section", "nosection.service", "ExecStart=/bin/sleep infinity\n", "/states/m1/nosection.service ", "bad-setting"),
	unitFile("an empty unit file", "empty.service", "", "/states/m1/empty.service ", "bad-setting"),
	unitFile("a unit file with NUL", "nulfile.service", "[Service]\nExecStart=/bin/sleep\x00infinity\n", "/unplaced/nulfile.service ", "NUL byte"),
	unitFile("a unit file with a line of 1 MB", "longline.service", "[Service]\nExecStart=/bin/sleep "+strings.Repeat("x", 1<<20)+"\n", "/unplaced/longline.service ", "line of 1048"),
	unitFile("a unit file with a specifier that does not exist", "badspecifier.service", "[Service]\nExecStart=/bin/sleep %z\n", "/states/m1/badspecifier.service ", running), // systemd takes it literally
	unitFile("X-Fleet with a specifier that does not exist", "badfleet.service", sleeping+"[X-Fleet]\nMachineOf=a@%z.service\n", "/unplaced/badfleet.service ", "unknown specifier"),
	unitFile("a broken section header", "badheader.service", "[Service\nExecStart=/bin/true\n", "/unplaced/badheader.service ", "section header"),
	unitFile("a unit file that is no text", "binary.service", "\x7fELF\xff\xfe\x01", "/unplaced/binary.service ", "UTF-8"),
	unitFile("80,000 options", "options.service", sleeping+"[X-Fleet]\n"+strings.Repeat("Conflicts=a\n", 80_000), "/states/m1/options.service ", running),
	unitFile("broken globs", "globs.service", sleeping+"[X-Fleet]\nConflicts=[ a[ *\\\n", "/unplaced/globs.service ", "is invalid: close every"),
	unitFile("ports that are none", "portless.service", sleeping+"[X-Fleet]\nPorts=0 -1 70000 x\n", "/unplaced/portless.service ", "70000", "write numbers from 1 to 65535"),
	unitFile("more memory than there is in numbers", "memory.service", sleeping+"[X-Fleet]\nMemory=99999999999999999999G\n", "/unplaced/memory.service ", "99999999999999999999G"),
	{"a unit file that is not the text of its hash", func(l *lab) {
		l.raw(keys.UnitFiles().Key(unitfile.Hash("x")), sleeping)
		l.raw(keys.Units().Key("forged.service"), `{"spec":{"hash":"`+unitfile.Hash("x")+`","desiredState":"launched"}}`)
	}, one("/states/m1/forged.service ", "not the text with that hash")},
	{"a hash that leads elsewhere", func(l *lab) {
		l.raw(keys.Units().Key("elsewhere.service"), `{"spec":{"hash":"../../../etc/passwd","desiredState":"launched"}}`)
	}, one("/unplaced/elsewhere.service ", "not stored")},
	{"a desired state that does not exist", func(l *lab) {
		l.raw(keys.UnitFiles().Key(unitfile.Hash(sleeping)), sleeping)
		l.raw(keys.Units().Key("dancing.service"), `{"spec":{"hash":"`+unitfile.Hash(sleeping)+`","desiredState":"dancing"}}`)
	}, one("/unplaced/dancing.service ", "dancing")},
	{"a unit of aliases of aliases", func(l *lab) { l.raw(keys.Units().Key("bomb.service"), bomb()) }, one("/unplaced/bomb.service ", "cannot be read")},
	{"a unit's name of 256 characters", func(l *lab) { l.unit(strings.Repeat("a", 248)+".service", sleeping) }, one("/unplaced/"+strings.Repeat("a", 248)+".service ", "256 characters, at most 255")},
}
