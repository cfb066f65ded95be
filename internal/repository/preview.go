package repository

import (
	"errors"
	"fmt"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Preview are the copies of a commit's apps for a preview. Sources are none of it, nor are apps that say so.
func (m *Manifests) Preview(p *v1.PreviewOf) *Manifests {
	if m.Fault != nil {
		return m
	}
	var copied []string
	for i := range m.Objects {
		if o := &m.Objects[i]; o.App != nil && o.App.Metadata.Annotations[v1.AnnotationPreviews] != v1.PreviewsNone {
			copied = append(copied, o.Name)
		}
	}
	changed := &Manifests{Commit: m.Commit}
	var faults v1.ManifestErrors
	for _, o := range m.Objects {
		if o.App == nil || !slices.Contains(copied, o.Name) {
			continue
		}
		app, raw, err := v1.PreviewApp(o.Raw, o.App, p, copied)
		if err != nil {
			faults = append(faults, inPreview(&o, err)...)
			continue
		}
		o.App, o.Raw, o.Name, o.Hash = app, raw, app.Metadata.Name, Hash(raw)
		changed.Objects = append(changed.Objects, o)
	}
	if len(faults) > 0 {
		return &Manifests{Commit: m.Commit, Fault: faults}
	}
	slices.SortFunc(changed.Objects, func(a, b Object) int { return a.Compare(b.Key) })
	return changed
}

// inPreview are the errors of a copy. The lines in them would be those of its own text.
func inPreview(o *Object, err error) (faults v1.ManifestErrors) {
	var errs v1.ManifestErrors
	if !errors.As(err, &errs) {
		return v1.ManifestErrors{{Message: fmt.Sprintf("%s: %s: %v", o.Place(), o.Key, err)}}
	}
	for _, e := range errs {
		told := *e
		told.Line = 0
		faults = append(faults, &v1.ManifestError{Message: fmt.Sprintf("%s: %s, as a preview: %s", o.Place(), o.Key, told.Error())})
	}
	return faults
}
