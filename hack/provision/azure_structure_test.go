package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// structure checks what the schema of templates says of all but the resources' own fields:
// https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json
func structure(text string) error {
	type parameter struct {
		Type                                     string
		DefaultValue                             any
		AllowedValues                            []any
		Metadata                                 map[string]any
		MinValue, MaxValue, MinLength, MaxLength *int
	}
	type output struct {
		Type             string
		Value, Condition any
	}
	var whole struct {
		Schema         string `json:"$schema"`
		ContentVersion string
		APIProfile     *string
		Metadata       map[string]any
		Parameters     map[string]parameter
		Variables      map[string]any
		Functions      []any
		Resources      []map[string]any
		Outputs        map[string]output
	}
	if err := strictly([]byte(text), &whole); err != nil {
		return err
	}
	if !regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`).MatchString(whole.ContentVersion) || whole.Schema == "" || len(whole.Resources) == 0 {
		return fmt.Errorf("$schema, contentVersion and resources are required: %q", whole.ContentVersion)
	}
	types := map[string]string{}
	for name, p := range whole.Parameters {
		types["parameters."+name] = p.Type
	}
	for name, o := range whole.Outputs {
		types["outputs."+name] = o.Type
		if o.Value == nil {
			return fmt.Errorf("outputs.%s has no value", name)
		}
	}
	for name, kind := range types {
		if !slices.Contains([]string{"string", "securestring", "int", "bool", "object", "secureObject", "array"}, kind) {
			return fmt.Errorf("%s has the type %q", name, kind)
		}
	}
	for _, r := range whole.Resources {
		if err := structureOfResource(r); err != nil {
			return fmt.Errorf("%v: %w", r["type"], err)
		}
	}
	return nil
}

func structureOfResource(r map[string]any) error {
	own := map[string]any{}
	for _, key := range ofTemplate {
		if value, ok := r[key]; ok {
			own[key] = value
		}
	}
	text, err := json.Marshal(own)
	if err != nil {
		return err
	}
	var fields struct {
		Type, APIVersion, Name, Scope, Comments string
		Condition                               any
		DependsOn                               []string
		Copy                                    *struct {
			Name, Mode       string
			Count, BatchSize any
		}
	}
	if err := strictly(text, &fields); err != nil {
		return err
	}
	if fields.Type == "" || fields.Name == "" || !versionText.MatchString(fields.APIVersion) {
		return fmt.Errorf("type, name and apiVersion are required: %q, %q, %q", fields.Type, fields.Name, fields.APIVersion)
	}
	if c := fields.Copy; c != nil && (c.Name == "" || c.Count == nil || !slices.Contains([]string{"", "Parallel", "Serial"}, c.Mode)) {
		return fmt.Errorf("copy has a name and a count: %+v", *c)
	}
	return nil
}

func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
