"""Pages in a site's own Jinja templates, which were written for JupyterHub.

The hub's pages are Django templates. Where `c.JupyterHub.template_paths` names folders,
each page is rendered as always, and its *parts* are kept apart: `{% part "main" %}` in
a Django template marks one. The parts then fill the blocks of a base template with the
names of JupyterHub's templates and blocks, which the site's template extends. So a page
exists once, and a block that the site does not override is the hub's own.

* `parts.py`: the parts of a page
* `templates/`: the base templates, one for each of JupyterHub's
* `variables.py`: the variables of JupyterHub's templates
* `render.py`: the page in the site's template
* `files.py`: JupyterHub's static files
* `scan.py`: what the site's templates need, and what of that is not honoured
"""
