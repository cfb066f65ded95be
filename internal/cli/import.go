package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/importer"
	"github.com/fleet-starter/fleet/internal/version"
)

func (a *app) importCommand() *cobra.Command {
	from, machine := "", ""
	cmd := &cobra.Command{
		Use: "import FILE... | import --from-fleet ENDPOINT", Short: "Turn unit files of the original fleet into manifests",
		Long: `Reads unit files and writes manifests to standard output, for "fleetctl apply -f". A service that runs a container with
docker run, or a program, becomes an App; a sidekick that sets a key with etcdctl in a loop becomes the announce of its
app, if it is among the files. Everything else becomes a Unit with the same text. What an App has no place for is written
to standard error, with file and line, and as comments into the manifest.

With --from-fleet the units of a running cluster of the original are read through its API, and written as they are, each
with its desired state and the machine that it runs on. When they are applied where fleetd took the original's place, they go
there, and those whose file is the same are not restarted. --machine writes only those of one machine, or, as "none", those that are on no machine. Nothing
is changed in that cluster.

The exit code is 1 if a file could not be read.`,
		Example: `  fleetctl import example-app@.service example-app-discovery@.service > example-app.yaml
  fleetctl import *.service | fleetctl apply --dry-run -f -
  fleetctl import --from-fleet http://10.0.0.11:49153 --machine 8abff2e7 > 8abff2e7.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case from == "" && len(args) == 0:
				return usage("FILE is missing: give unit files, or --from-fleet ENDPOINT")
			case from != "" && len(args) > 0:
				return usage("--from-fleet reads a cluster: it takes no FILE, got %q", args[0])
			case from == "" && machine != "":
				return usage("--machine needs --from-fleet")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if from != "" {
				return a.importFleet(cmd.Context(), from, machine)
			}
			return a.importFiles(args)
		},
	}
	cmd.Flags().StringVar(&from, "from-fleet", "", "address of a fleetd of the original: unix:///path or http://host:port")
	cmd.Flags().StringVar(&machine, "machine", "", "with --from-fleet: the ID of a machine, or its beginning; none for units on no machine")
	return cmd
}

func (a *app) importFiles(files []string) error {
	var inputs []importer.Input
	for _, file := range files {
		text, err := a.readFile(file)
		if err != nil {
			return err
		}
		inputs = append(inputs, importer.Input{File: file, Text: string(text)})
	}
	objects, refused := importer.Import(inputs)
	for _, o := range objects {
		for _, n := range o.Notes {
			a.note("%s", n)
		}
	}
	return a.printImported(objects, refused)
}

func (a *app) printImported(objects []importer.Object, refused []importer.Note) error {
	for i, o := range objects {
		text, err := o.YAML()
		if err != nil {
			return err
		}
		if i > 0 {
			a.say("---")
		}
		a.say("%s", strings.TrimSuffix(string(text), "\n"))
	}
	for _, n := range refused {
		a.note("fleetctl: %s", n)
	}
	if len(refused) > 0 {
		return errReported{exitError}
	}
	return nil
}

// importFleet writes the units of a cluster of the original.
func (a *app) importFleet(ctx context.Context, endpoint, machine string) error {
	via, err := a.transport()
	if err != nil {
		return err
	}
	c, err := client.NewVia(via, endpoint, a.timeout, "fleetctl/"+version.String())
	if err != nil {
		return usage("%v", err)
	}
	defer c.Close()
	var units []importer.FleetUnit
	for query := (url.Values{}); ; {
		data, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: "/fleet/v1/units", Query: query})
		if err != nil {
			return err
		}
		page, err := importer.ReadFleetPage(data)
		if err != nil {
			return err
		}
		for _, u := range page.Units {
			if machine == "" || machine == "none" && u.MachineID == "" || machine != "none" && strings.HasPrefix(u.MachineID, machine) {
				units = append(units, u)
			}
		}
		if page.NextPageToken == "" || page.NextPageToken == query.Get("nextPageToken") {
			break
		}
		query = url.Values{"nextPageToken": {page.NextPageToken}}
	}
	objects, refused := importer.FromFleet(units)
	return a.printImported(objects, refused)
}
