"""Parameters of the estimator in groups, on its page: links, then a list for each group."""

from docutils import nodes

PAGE = "api/generated/skvae.TeacherGuidedVAE"
GROUPS = {
    "Architecture": """
        latent_dim hidden_layer_sizes architecture image_shape channels encoder decoder
        likelihood size decoder_variance variance_floor missing
    """,
    "Teacher and alignment": """
        teacher alignment_weight alignment_target witness witness_input witness_scale
        prefit_epochs prefit_alpha guard max_teacher_rows memory
    """,
    "Objective": """
        beta kl_warmup kl_cycles free_bits kl_capacity mmd_weight tc_weight
        n_importance_samples aggressive_steps
    """,
    "Training": """
        batch_size max_epochs lr weight_decay optimizer lr_schedule max_grad_norm
        ema_decay early_stopping validation_fraction n_iter_no_change tol warm_start
        checkpoint checkpoint_every callbacks random_state verbose
    """,
    "Machine": """
        device distributed data_on_device precision compile
    """,
}


def group_parameters(app, doctree):
    """Put the parameters of the estimator's page into groups, each of them into one."""
    if app.env.docname != PAGE:
        return
    fields = list(doctree.findall(nodes.field))
    (field,) = [each for each in fields[:3] if each[0].astext() == "Parameters"][:1]
    (listed,) = field[1].findall(nodes.definition_list)
    items = {item[0].findall(nodes.strong).__next__().astext(): item for item in listed}
    wanted = {name for names in GROUPS.values() for name in names.split()}
    if items.keys() != wanted:
        raise ValueError(f"docs/_ext/parameter_groups.py: {items.keys() ^ wanted}")
    links, lists = nodes.definition_list(classes=["parameter-links"]), []
    for title, names in GROUPS.items():
        group = f"group-{title.lower().replace(' ', '-')}"
        line = nodes.paragraph()
        part = nodes.definition_list(classes=["simple"])
        for name in names.split():
            anchor = f"parameter-{name}"
            # Of the term, as an item has no tag of its own.
            items[name][0]["ids"].append(anchor)
            items[name].parent.remove(items[name])
            part += items[name]
            line += [
                nodes.reference("", "", nodes.literal(text=name), refid=anchor),
                nodes.Text(" "),
            ]
        head = nodes.reference("", title, refid=group)
        links += nodes.definition_list_item(
            "", nodes.term("", "", head), nodes.definition("", line)
        )
        lists += [nodes.rubric(title, title, ids=[group]), part]
    field[1].children = []
    field[1] += [links, *lists]


def setup(app):
    """Connect it."""
    app.connect("doctree-read", group_parameters)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
