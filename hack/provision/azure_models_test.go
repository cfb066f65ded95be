package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v5"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v5"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/stretchr/testify/require"
)

// models are the types that Azure's own SDK sends to create the template's resources. The SDK's modules are those that were
// generated from the API versions that the template names.
var models = map[string]any{
	"Microsoft.Storage/storageAccounts":       armstorage.AccountCreateParameters{},
	"Microsoft.Network/networkSecurityGroups": armnetwork.SecurityGroup{},
	"Microsoft.Network/virtualNetworks":       armnetwork.VirtualNetwork{},
	"Microsoft.Network/publicIPAddresses":     armnetwork.PublicIPAddress{},
	"Microsoft.Network/loadBalancers":         armnetwork.LoadBalancer{},
	"Microsoft.Network/networkInterfaces":     armnetwork.Interface{},
	"Microsoft.Compute/virtualMachines":       armcompute.VirtualMachine{},
	"Microsoft.Authorization/roleAssignments": armauthorization.RoleAssignmentCreateParameters{},
}

// ofTemplate are the fields of a resource that are the template's, and not the resource's.
var ofTemplate = []string{"type", "apiVersion", "name", "copy", "dependsOn", "scope", "condition", "comments"}

// sdk is what the source of one of the SDK's packages says beyond its types.
type sdk struct {
	// comments are those of fields, by type and field: they begin with "REQUIRED;" and "READ-ONLY;".
	comments map[string]map[string]string
	// values are the values of the types that have a Possible...Values function.
	values map[string][]string
	// versions are the API versions by the types of resources that the clients create.
	versions map[string]string
}

// packages is a cache of what was read.
var packages = map[string]*sdk{}

var (
	pathLine    = regexp.MustCompile(`/providers/([A-Za-z]+\.[A-Za-z]+/[A-Za-z]+)/\{[A-Za-z]+\}$`)
	versionText = regexp.MustCompile(`^20\d\d-\d\d-\d\d$`)
)

func sdkOf(t *testing.T, path string) *sdk {
	t.Helper()
	if packages[path] != nil {
		return packages[path]
	}
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", path).Output()
	require.NoError(t, err, path)
	s := &sdk{comments: map[string]map[string]string{}, values: map[string][]string{}, versions: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		base := filepath.Base(name)
		if strings.HasSuffix(base, "_test.go") || base != "models.go" && base != "constants.go" && !strings.HasSuffix(base, "_client.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		s.read(file)
	}
	packages[path] = s
	return s
}

func (s *sdk) read(file *ast.File) {
	var kinds []string
	version := ""
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if fields, ok := n.Type.(*ast.StructType); ok {
				s.comments[n.Name.Name] = map[string]string{}
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						s.comments[n.Name.Name][name.Name] = f.Doc.Text()
					}
				}
			}
		case *ast.ValueSpec:
			if kind, ok := n.Type.(*ast.Ident); ok && len(n.Values) == 1 {
				if value, ok := n.Values[0].(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(value.Value)
					s.values[kind.Name] = append(s.values[kind.Name], text)
				}
			}
		case *ast.BasicLit:
			text, _ := strconv.Unquote(n.Value)
			if m := pathLine.FindStringSubmatch(text); m != nil {
				kinds = append(kinds, m[1])
			}
			if versionText.MatchString(text) {
				version = text
			}
		}
		return true
	})
	for _, kind := range kinds {
		s.versions[kind] = version
	}
}

// checkResource returns what is wrong with a resource whose expressions are evaluated.
func checkResource(t *testing.T, resource map[string]any) (wrong []string) {
	t.Helper()
	kind := fmt.Sprint(resource["type"])
	model, ok := models[kind]
	if !ok {
		return []string{kind + ": there is no model of it"}
	}
	typ := reflect.TypeOf(model)
	s := sdkOf(t, typ.PkgPath())
	if s.versions[kind] != resource["apiVersion"] {
		return []string{fmt.Sprintf("%s: the model is that of API version %q, not %v", kind, s.versions[kind], resource["apiVersion"])}
	}
	body := map[string]any{}
	for key, value := range resource {
		if !slices.Contains(ofTemplate, key) {
			body[key] = value
		}
	}
	sent, err := json.Marshal(body)
	require.NoError(t, err)
	decoded := reflect.New(typ)
	if err := json.Unmarshal(sent, decoded.Interface()); err != nil {
		return []string{kind + ": " + err.Error()}
	}
	again, err := json.Marshal(decoded.Interface())
	require.NoError(t, err)
	var kept, whole any
	require.NoError(t, json.Unmarshal(again, &kept))
	require.NoError(t, json.Unmarshal(sent, &whole))
	return append(lost(kind, whole, kept), s.check(kind, decoded)...)
}

// lost returns the paths in a that b has not, or has with another value: the model has no such field.
func lost(path string, a, b any) (paths []string) {
	switch a := a.(type) {
	case map[string]any:
		object, ok := b.(map[string]any)
		if !ok {
			return []string{path + ": no such field"}
		}
		for key, value := range a {
			paths = append(paths, lost(path+"."+key, value, object[key])...)
		}
		return paths
	case []any:
		list, _ := b.([]any)
		if len(list) != len(a) {
			return []string{path + ": no such field"}
		}
		for i, value := range a {
			paths = append(paths, lost(fmt.Sprintf("%s[%d]", path, i), value, list[i])...)
		}
		return paths
	}
	if !reflect.DeepEqual(a, b) {
		return []string{path + ": no such field"}
	}
	return nil
}

// check returns the fields that are required and missing, or set and read-only, and the values that are none of their type's.
func (s *sdk) check(path string, v reflect.Value) (wrong []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return s.check(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			wrong = append(wrong, s.check(fmt.Sprintf("%s[%d]", path, i), v.Index(i))...)
		}
	case reflect.String:
		if values := s.values[v.Type().Name()]; len(values) > 0 && !slices.Contains(values, v.String()) {
			return []string{fmt.Sprintf("%s: %q is none of %v", path, v.String(), values)}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, comment := path+"."+field.Name, s.comments[v.Type().Name()][field.Name]
			switch {
			case strings.HasPrefix(comment, "REQUIRED;") && v.Field(i).IsZero():
				wrong = append(wrong, name+": is required")
			case strings.HasPrefix(comment, "READ-ONLY;") && !v.Field(i).IsZero():
				wrong = append(wrong, name+": is read-only")
			}
			wrong = append(wrong, s.check(name, v.Field(i))...)
		}
	}
	return wrong
}
