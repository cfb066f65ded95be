package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/fleet-starter/fleet/internal/cli"
	"github.com/fleet-starter/fleet/internal/config"
)

const configIntro = `# Configuration of fleetd

<!-- Generated from internal/config by hack/update-generated.sh. Do not edit. -->

` + "`/etc/fleet/fleet.conf`" + ` has lines ` + "`key=value`" + `. Each key is also a variable, ` + "`FLEET_<KEY>`" + `, and a flag, ` + "`--<key>`" + ` with dashes. A flag overrides
a variable, a variable the file, and the file the default. Keys that mean the same as in the original fleet have the original's
names; its keys that no longer have any effect are accepted with a warning. An unknown key is an error with file and line.
` + "`systemctl reload fleetd`" + ` applies changes of ` + "`verbosity` and `metadata`" + `; all others need a restart of fleetd, which restarts no unit.

## Keys

| key | default | what it is |
|---|---|---|
`

const configNotes = `
## etcd with TLS and a password

In etcdctl these files are the flags ` + "`--cacert`, `--cert` and `--key`" + `:

` + "```" + `
etcd_servers=https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379
etcd_cafile=/etc/fleet/etcd-ca.pem
etcd_certfile=/etc/fleet/etcd-client.pem
etcd_keyfile=/etc/fleet/etcd-client-key.pem
etcd_username=fleet
etcd_password=...
` + "```" + `

fleetd passes them on to announcers and routers: the paths in ` + "`%t/fleet/environment`" + `, user name and password in
` + "`%t/fleet/etcd-credentials`" + `, which only root can read and which the units get by ` + "`LoadCredential=`" + `. With a password in it,
` + "`/etc/fleet/fleet.conf`" + ` should have mode 0600. fleetctl does not talk to etcd and needs none of this.

## Who may reach fleetd

The API listens on ` + "`/run/fleet.sock`" + `, for root and the group ` + "`fleet`" + `. For ` + "`fleetctl logs`" + ` to read other machines' logs, and for
fleetctl elsewhere, have it listen on TCP as well:

` + "```" + `
listen=unix:///run/fleet.sock,http://10.0.0.11:49153
` + "```" + `

There is no authentication on that port: access to it, or to etcd, is root on every machine. Keep both on a separate network.
`

// configOf generates the table of fleetd's keys.
func configOf() []byte {
	out := bytes.NewBufferString(configIntro)
	for _, k := range config.Keys() {
		value := "none"
		if k.Default != "" {
			value = "`" + k.Default + "`"
			if strings.Contains(k.Default, " ") {
				value = escape(k.Default)
			}
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", k.Name, value, escape(sentence(k.Usage)))
	}
	out.WriteString(configNotes)
	return out.Bytes()
}

const commandsIntro = `# fleetctl

<!-- Generated from fleetctl's own help by hack/update-generated.sh. Do not edit. -->

`

var command = regexp.MustCompile(`(?m)^  ([a-z-]+) +(\S.*)$`)

// commandsOf generates the help of fleetctl and its commands.
func commandsOf() ([]byte, error) {
	top, err := helpOf()
	if err != nil {
		return nil, err
	}
	intro, rest, _ := strings.Cut(top, "\nUsage:\n")
	_, list, found := strings.Cut(rest, "\nAvailable Commands:\n")
	list, flags, more := strings.Cut(list, "\nFlags:\n")
	if !found || !more {
		return nil, fmt.Errorf("fleetctl --help does not list commands and flags:\n%s", top)
	}
	flags, _, _ = strings.Cut(flags, "\n\nUse ")
	out := bytes.NewBufferString(commandsIntro)
	before, codes, _ := strings.Cut(intro, "\nExit codes:\n")
	fmt.Fprintf(out, "%s\n\nExit codes:\n\n```\n%s\n```\n\nFlags of all commands:\n\n```\n%s\n```\n\n| command | what it does |\n|---|---|\n",
		strings.TrimSpace(before), strings.Trim(codes, "\n"), strings.Trim(flags, "\n"))
	var names []string
	for _, m := range command.FindAllStringSubmatch(list, -1) {
		if m[1] == "help" || m[1] == "completion" {
			continue
		}
		names = append(names, m[1])
		fmt.Fprintf(out, "| [%[1]s](#%[1]s) | %[2]s |\n", m[1], escape(m[2]))
	}
	for _, name := range names {
		text, err := helpOf(name)
		if err != nil {
			return nil, err
		}
		text, _, _ = strings.Cut(text, "\nGlobal Flags:")
		words, usage, _ := strings.Cut(text, "\nUsage:\n")
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n```\n%s\n```\n", name, strings.TrimSpace(words), strings.TrimRight(strings.TrimPrefix(usage, "  "), "\n"))
	}
	return out.Bytes(), nil
}

func helpOf(name ...string) (string, error) {
	var out, told bytes.Buffer
	world := cli.IO{In: strings.NewReader(""), Out: &out, Err: &told, Getenv: func(string) string { return "" }}
	if code := cli.Main(context.Background(), append(name, "--help"), world); code != 0 {
		return "", fmt.Errorf("fleetctl %s --help ends with %d: %s", strings.Join(name, " "), code, told.String())
	}
	return out.String(), nil
}
