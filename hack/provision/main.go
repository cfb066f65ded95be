// Command provision makes what is generated in manifests/provision: Ignition of the Butane file, and the cloud-config in the template for
// Azure. hack/update-provision.sh runs it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
)

// manifests is the directory of the manifests, and dir what is generated here.
const (
	manifests = "../../manifests"
	dir       = manifests + "/provision"
)

func main() {
	generated, err := generate()
	for name, text := range generated {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

// generate returns the generated files by their names.
func generate() (map[string][]byte, error) {
	butane, err := os.ReadFile(dir + "/flatcar.bu")
	if err != nil {
		return nil, err
	}
	ignition, err := translate(butane)
	if err != nil {
		return nil, err
	}
	cloudConfig, err := os.ReadFile(dir + "/cloud-config.yaml")
	if err != nil {
		return nil, err
	}
	template, err := os.ReadFile(dir + "/azuredeploy.json")
	if err != nil {
		return nil, err
	}
	template, err = withCloudConfig(template, cloudConfig)
	return map[string][]byte{"flatcar.ign": ignition, "azuredeploy.json": template}, err
}

// translate makes Ignition of Butane. A warning is an error.
func translate(butane []byte) ([]byte, error) {
	options := common.TranslateBytesOptions{Pretty: true, TranslateOptions: common.TranslateOptions{FilesDir: manifests}}
	ignition, report, err := config.TranslateBytes(butane, options)
	if err == nil && len(report.Entries) > 0 {
		err = errors.New("flatcar.bu: " + report.String())
	}
	return append(ignition, '\n'), err
}

// cloudConfigLine is the line of the template with the cloud-config.
var cloudConfigLine = regexp.MustCompile(`(?m)^    "cloudConfig": ".*",$`)

func withCloudConfig(template, cloudConfig []byte) ([]byte, error) {
	if !cloudConfigLine.Match(template) {
		return nil, errors.New(`azuredeploy.json: there is no variable "cloudConfig"`)
	}
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(cloudConfig)); err != nil {
		return nil, err
	}
	line := append(append([]byte(`    "cloudConfig": `), bytes.TrimSpace(quoted.Bytes())...), ',')
	return cloudConfigLine.ReplaceAllLiteral(template, line), nil
}
