package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

type object = map[string]any

// further is what validation requires beyond the types, by path. Numbers are allowed for strings where people write them so.
var further = map[string]object{
	"apiVersion":                          {"const": v1.APIVersion},
	"kind":                                {"const": v1.KindApp},
	"metadata.name":                       {"pattern": v1.LabelPattern},
	"spec.replicas":                       {"minimum": 0, "maximum": v1.MaxReplicas},
	"spec.container.pull":                 {"enum": []string{v1.PullAlways, v1.PullIfNotPresent, v1.PullNever}},
	"spec.container.runtime":              {"enum": []string{v1.RuntimeDocker, v1.RuntimePodman}},
	"spec.ports[].port":                   {"minimum": 1, "maximum": 65535},
	"spec.ports[].hostPort":               {"anyOf": []object{{"type": "integer", "minimum": 1, "maximum": 65535}, {"const": "auto"}}},
	"spec.update.onFailure":               {"enum": []string{v1.OnFailurePause, v1.OnFailureRevert}},
	"spec.update.canary.weight":           {"type": "string", "pattern": `^[1-9][0-9]?%$`},
	"spec.announce.port":                  {"type": []string{"string", "integer"}},
	"spec.healthCheck.http.port":          {"type": []string{"string", "integer"}},
	"spec.healthCheck.tcp.port":           {"type": []string{"string", "integer"}},
	"spec.resources.requests.cpu":         {"type": []string{"string", "number"}},
	"spec.resources.requests.memory":      {"type": []string{"string", "integer"}},
	"spec.resources.limits.cpu":           {"type": []string{"string", "number"}},
	"spec.resources.limits.memory":        {"type": []string{"string", "integer"}},
	"spec.env[]":                          {"type": []string{"string", "number", "boolean"}},
	"spec.healthCheck.healthyThreshold":   {"minimum": 1, "maximum": 1000},
	"spec.healthCheck.unhealthyThreshold": {"minimum": 1, "maximum": 1000},
}

// schemaOf generates a JSON schema (draft 2020-12) of an App.
func schemaOf(docs docs) ([]byte, error) {
	root := structure(reflect.TypeFor[v1.App](), "", docs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "App of fleet/v1"
	root["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
	properties := root["properties"].(object)
	properties["metadata"].(object)["required"] = []string{"name"}
	properties["status"] = object{"description": "What the controllers observed last. Read-only.", "readOnly": true}
	spec := properties["spec"].(object)
	spec["oneOf"] = []object{{"required": []string{"container"}}, {"required": []string{"exec"}}}
	spec["not"] = object{"required": []string{"replicas", "global"}, "properties": object{"global": object{"const": true}}}
	port := spec["properties"].(object)["ports"].(object)["items"].(object)
	port["anyOf"] = []object{{"required": []string{"port"}}, {"required": []string{"name", "hostPort"}, "properties": object{"hostPort": object{"const": "auto"}}}}
	check := properties["spec"].(object)["properties"].(object)["healthCheck"].(object)
	check["oneOf"] = []object{{"required": []string{"http"}}, {"required": []string{"tcp"}}, {"required": []string{"exec"}}}

	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(root)
	return out.Bytes(), err
}

func structure(t reflect.Type, path string, docs docs) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t, path, docs) {
		if f.path == "status" {
			continue
		}
		property := schema(f.typ, f.path, docs)
		if f.doc.text != "" {
			property["description"] = f.doc.text
		}
		if f.doc.fallback != "" {
			property["description"] = fmt.Sprintf("%s Default: %s.", f.doc.text, f.doc.fallback)
		}
		if f.doc.readOnly {
			property["readOnly"] = true
		}
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func schema(t reflect.Type, path string, docs docs) object {
	s := typeSchema(t, path, docs)
	for key, value := range further[path] {
		s[key] = value
	}
	return s
}

func typeSchema(t reflect.Type, path string, docs docs) object {
	scalar := []string{"string", "number", "boolean"}
	switch {
	case t == duration:
		return object{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case t == hostPort:
		return object{}
	case t == amount:
		return object{"type": []string{"integer", "string"}, "minimum": 0, "pattern": `^[0-9]+%$`}
	case t == stringList:
		return object{"type": append(scalar, "array"), "items": object{"type": scalar}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem(), path, docs)
	case reflect.Slice:
		return object{"type": "array", "items": schema(t.Elem(), path+"[]", docs)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schema(t.Elem(), path+"[]", docs)}
	case reflect.Struct:
		return structure(t, path, docs)
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	}
	return object{"type": "integer"}
}
