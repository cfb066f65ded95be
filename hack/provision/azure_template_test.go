package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkTemplate returns what is wrong with a template, for each of its resources and each copy of them.
func checkTemplate(t *testing.T, text string) (wrong []string) {
	t.Helper()
	if err := structure(text); err != nil {
		return []string{err.Error()}
	}
	e := &evaluation{parameters: map[string]any{}}
	require.NoError(t, json.Unmarshal([]byte(text), &e.template))
	for name, p := range e.template.Parameters {
		if e.parameters[name] = p.DefaultValue; p.DefaultValue == nil {
			e.parameters[name] = "text of " + name
		}
	}
	names := map[string]map[string]bool{}
	var resources []map[string]any
	// At first the names: what refers to them is evaluated when all are known.
	for _, pass := range []string{"names", "all"} {
		for _, r := range e.template.Resources {
			copies, err := e.copies(r)
			for i := 0; i < copies && err == nil; i++ {
				e.copyIndex = i
				kind, value := fmt.Sprint(r["type"]), any(nil)
				if pass == "names" {
					value, err = e.value(r["name"])
					if names[kind] == nil {
						names[kind] = map[string]bool{}
					}
					names[kind][fmt.Sprint(value)] = true
					continue
				}
				if value, err = e.value(r); err == nil {
					resources = append(resources, value.(map[string]any))
				}
			}
			if err != nil {
				return []string{err.Error()}
			}
		}
		e.names = names
	}
	for name, output := range e.template.Outputs {
		if _, err := e.value(output); err != nil {
			wrong = append(wrong, "outputs."+name+": "+err.Error())
		}
	}
	for _, r := range resources {
		wrong = append(wrong, checkResource(t, r)...)
	}
	return wrong
}

// copies is how many resources of the template's entry there are.
func (e *evaluation) copies(resource map[string]any) (int, error) {
	object, ok := resource["copy"].(map[string]any)
	if !ok {
		return 1, nil
	}
	count, err := e.value(object["count"])
	n, ok := count.(float64)
	if err == nil && !ok {
		err = fmt.Errorf("%v: copy.count is no number: %v", resource["type"], count)
	}
	return int(n), err
}

// TestAzureModels: each resource, each copy of it, is what Azure's API of that version takes.
func TestAzureModels(t *testing.T) {
	require.Empty(t, checkTemplate(t, read(t, dir+"/azuredeploy.json")))
}

// TestAzureModelsFindSlips: a slip in any part of the template is found.
func TestAzureModelsFindSlips(t *testing.T) {
	text := read(t, dir+"/azuredeploy.json")
	for _, slip := range []struct{ is, was, want string }{
		{`"contentVersion": "1.0"`, `"contentVersion": "1.0.0.0"`, `contentVersion`},
		{`"output": {`, `"outputs": {`, `unknown field "output"`},
		{`"type": "integer"`, `"type": "int"`, `has the type "integer"`},
		{`"minimum": 3`, `"minValue": 3`, `unknown field "minimum"`},
		{`"count": "[parameters('vmSize')]"`, `"count": "[parameters('machines')]"`, "copy.count is no number"},
		{`"number": "[parameters('machines')]"`, `"count": "[parameters('machines')]"`, `unknown field "number"`},
		{`"dependson"`, `"dependsOn"`, "dependson: no such field"},
		{`2023-05-02`, `2023-05-01`, `is that of API version "2023-05-01", not 2023-05-02`},
		{`Microsoft.Network/balancers`, `Microsoft.Network/loadBalancers`, "Microsoft.Network/balancers: there is no model of it"},

		{`parameters('place')`, `parameters('location')`, `there is no parameter "place"`},
		{`variables('balance')`, `variables('balancer')`, `there is no variable "balance"`},
		{`resourceId('Microsoft.Network/publicIPAddresses', 'front')`, `resourceId('Microsoft.Network/publicIPAddresses', 'fleet')`,
			`the template has no Microsoft.Network/publicIPAddresses "front"`},
		{`resourceId('Microsoft.Network/virtualNetworks/subnets', 'fleet')`, `resourceId('Microsoft.Network/virtualNetworks/subnets', 'fleet', 'machines')`, "has 1 names"},
		{`[join('m', copyIndex(1))]`, `[concat('m', copyIndex(1))]`, `no function "join" is known`},
		{`[concat('m', copyIndex(1)]`, `[concat('m', copyIndex(1))]`, "neither , nor ) after an argument of concat"},
		{`[concat('m', copyIndex('1'))]`, `[concat('m', copyIndex(1))]`, "argument 1 has the wrong type"},
		{`[concat('m', copyIndex(1)))]`, `[concat('m', copyIndex(1))]`, "it does not end with its last bracket"},

		{`"requestPaths"`, `"requestPath"`, "properties.probes[0].properties.requestPaths: no such field"},
		{`"probePort": 80`, `"port": 80`, "Properties.Port: is required"},
		{`"port": "80"`, `"port": 80`, "Port"},
		{`"destinationPortRange": 80`, `"destinationPortRange": "80"`, "DestinationPortRange"},
		{`"access": "Allowed"`, `"access": "Allow"`, `"Allowed" is none of [Allow Deny]`},
		{`"Standard_XRS"`, `"Standard_ZRS"`, `"Standard_XRS" is none of`},
		{`"kinds": "StorageV2"`, `"kind": "StorageV2"`, "Kind: is required"},
		{`[add(1, mod(copyIndex(), 3))]`, `[string(add(1, mod(copyIndex(), 3)))]`, "Zones"},
		{`"disablePasswordAuthentication": "true"`, `"disablePasswordAuthentication": true`, "DisablePasswordAuthentication"},
		{`"adminUser"`, `"adminUsername"`, "properties.osProfile.adminUser: no such field"},
		{`"principalType": "Principal"`, `"principalType": "ServicePrincipal"`, `"Principal" is none of`},
		{`"provisioningState": "Succeeded", "ipConfigurations"`, `"ipConfigurations"`, "ProvisioningState: is read-only"},
		{`"type": "SystemAssignd"`, `"type": "SystemAssigned"`, `"SystemAssignd" is none of`},
	} {
		t.Run(slip.is, func(t *testing.T) {
			require.Contains(t, text, slip.was)
			require.Contains(t, strings.Join(checkTemplate(t, strings.ReplaceAll(text, slip.was, slip.is)), "\n"), slip.want)
		})
	}
}
