package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// template is what is looked at of azuredeploy.json.
type template struct {
	Schema     string `json:"$schema"`
	Parameters map[string]struct {
		DefaultValue any
	}
	Variables map[string]any
	Resources []map[string]any
	Outputs   map[string]any
}

var named = regexp.MustCompile(`(parameters|variables)\('([^']*)'\)`)

// expression is a text that Azure evaluates.
func expression(text string) bool {
	return strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "[[")
}

func TestAzureUsesWhatItDeclares(t *testing.T) {
	raw := read(t, dir+"/azuredeploy.json")
	var tmpl template
	require.NoError(t, json.Unmarshal([]byte(raw), &tmpl))
	require.Equal(t, "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", tmpl.Schema)
	used, declared := map[string]bool{}, map[string]bool{}
	for _, m := range named.FindAllStringSubmatch(raw, -1) {
		used[m[1]+" "+m[2]] = true
	}
	for name := range tmpl.Parameters {
		declared["parameters "+name] = true
	}
	for name := range tmpl.Variables {
		declared["variables "+name] = true
	}
	require.Equal(t, declared, used, "what is declared is used, and the other way round")
}

// TestAzureBalancer: the load balancer asks the routers, and requests go to the port that is asked.
func TestAzureBalancer(t *testing.T) {
	var tmpl template
	require.NoError(t, json.Unmarshal([]byte(read(t, dir+"/azuredeploy.json")), &tmpl))
	for _, r := range tmpl.Resources {
		if r["type"] != "Microsoft.Network/loadBalancers" {
			continue
		}
		text, err := json.Marshal(r["properties"])
		require.NoError(t, err)
		var p struct {
			Probes []struct {
				Properties struct {
					Protocol, RequestPath string
					Port                  int
				}
			}
			LoadBalancingRules []struct {
				Properties struct {
					BackendPort int
					Probe       struct{ ID string }
				}
			}
		}
		require.NoError(t, json.Unmarshal(text, &p))
		require.Equal(t, "/-/healthz", p.Probes[0].Properties.RequestPath)
		require.Equal(t, "Http", p.Probes[0].Properties.Protocol)
		require.Equal(t, p.LoadBalancingRules[0].Properties.BackendPort, p.Probes[0].Properties.Port)
		require.Contains(t, p.LoadBalancingRules[0].Properties.Probe.ID, "/probes/healthz")
		return
	}
	t.Fatal("there is no load balancer")
}

// TestAzureCustomData: what the template replaces in the cloud-config is there, once.
func TestAzureCustomData(t *testing.T) {
	var tmpl template
	require.NoError(t, json.Unmarshal([]byte(read(t, dir+"/azuredeploy.json")), &tmpl))
	config := fmt.Sprint(tmpl.Variables["cloudConfig"])
	require.Equal(t, read(t, dir+"/cloud-config.yaml"), config)
	require.Equal(t, 1, strings.Count(config, fmt.Sprint(tmpl.Variables["packagesLine"])))
	require.Equal(t, 1, strings.Count(config, `ACCOUNT=""`))
	for i := range 3 { // the members' addresses are those that the machines get
		require.Contains(t, config, fmt.Sprintf("m%d=10.0.0.%d", i+1, 11+i))
	}
	require.Contains(t, read(t, dir+"/azuredeploy.json"), `"[concat('10.0.0.', add(10, copyIndex(1)))]"`)
	require.Less(t, len(config), 40<<10, "Azure takes 64 KB of base64")
}
