package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// template is what is looked at of azuredeploy.json. Azure's own schema is not in this repository: what it would find beyond this, a
// deployment finds.
type template struct {
	Schema         string `json:"$schema"`
	ContentVersion string
	Parameters     map[string]struct {
		Type         string
		DefaultValue any
	}
	Variables map[string]any
	Resources []map[string]any
	Outputs   map[string]any
}

var (
	apiVersion = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]-[0-3][0-9]$`)
	typeName   = regexp.MustCompile(`^Microsoft\.[A-Za-z]+/[A-Za-z]+$`)
	named      = regexp.MustCompile(`(parameters|variables)\('([^']*)'\)`)
	referred   = regexp.MustCompile(`resourceId\('([^']*)', `)
	// functions are those of templates that are used.
	functions = regexp.MustCompile(`\b([a-zA-Z]+)\(`)
	known     = map[string]bool{"parameters": true, "variables": true, "resourceId": true, "subscriptionResourceId": true, "resourceGroup": true,
		"concat": true, "replace": true, "base64": true, "uniqueString": true, "guid": true, "copyIndex": true, "reference": true, "add": true, "mod": true, "string": true}
)

// texts calls do for each string in a value.
func texts(value any, do func(string)) {
	switch v := value.(type) {
	case string:
		do(v)
	case []any:
		for _, e := range v {
			texts(e, do)
		}
	case map[string]any:
		for _, e := range v {
			texts(e, do)
		}
	}
}

// expression is a text that Azure evaluates.
func expression(text string) bool {
	return strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "[[")
}

func TestAzure(t *testing.T) {
	raw := read(t, dir+"/azuredeploy.json")
	var tmpl template
	d := json.NewDecoder(strings.NewReader(raw))
	require.NoError(t, d.Decode(&tmpl))
	require.Equal(t, "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", tmpl.Schema)
	require.Regexp(t, `^\d+\.\d+\.\d+\.\d+$`, tmpl.ContentVersion)
	for name, p := range tmpl.Parameters {
		require.Contains(t, []string{"string", "int", "bool", "securestring", "object", "array"}, p.Type, name)
	}
	types := map[string]bool{}
	for _, r := range tmpl.Resources {
		kind := fmt.Sprint(r["type"])
		require.Regexp(t, typeName, kind)
		require.Regexp(t, apiVersion, r["apiVersion"], kind)
		require.NotEmpty(t, r["name"], kind)
		require.False(t, types[kind], "%s is there twice", kind)
		types[kind] = true
	}
	used := map[string]bool{}
	var whole any
	require.NoError(t, json.Unmarshal([]byte(raw), &whole))
	texts(whole, func(text string) {
		if !expression(text) {
			return
		}
		require.True(t, strings.HasSuffix(text, "]"), text)
		outside := regexp.MustCompile(`'[^']*'`).ReplaceAllString(text, "")
		require.Equal(t, strings.Count(outside, "("), strings.Count(outside, ")"), text)
		for _, m := range functions.FindAllStringSubmatch(outside, -1) {
			require.True(t, known[m[1]], "%s in %s", m[1], text)
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			used[m[1]+" "+m[2]] = true
		}
		for _, m := range referred.FindAllStringSubmatch(text, -1) {
			kind := strings.Join(strings.Split(m[1], "/")[:2], "/")
			require.True(t, types[kind], "%s is not in the template: %s", m[1], text)
		}
	})
	declared := map[string]bool{}
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
