# Snakemake's report makes a switch of a label that has two values, each in half of a category's files. Picture and
# table are one by design; where the studies would be another, it makes none.
FIGURE_LABELS = {
    name: {"figure": name, "study": ", ".join(figure_studies(figure)), "scale": CONFIG.scale}
    for name, figure in CONFIG.figures.items()
}
PAPERS = {"roeder2021": "Roeder, Metz, Kingma 2021", "vanrossem2024": "van Rossem, Saxe 2024", "joint": "Both papers"}
CATEGORIES = {name: PAPERS.get(one.plot.partition("_")[0], "Alignment") for name, one in CONFIG.figures.items()}

# One rule a figure, so that each has its own inputs and its own place in the report.
for figure_name, figure in CONFIG.figures.items():

    rule:
        name:
            f"plot_{figure_name}"
        input:
            results=figure_inputs(figure),
            published=published(figure),
            caption=os.path.relpath(Path(workflow.basedir) / "workflow" / "report" / f"{figure.plot}.rst"),
        output:
            pdf=f"{R}/figures/{figure_name}.pdf",
            png=report(
                f"{R}/figures/{figure_name}.png",
                caption=f"{Path.cwd()}/{R}/figures/{figure_name}.rst",
                category=CATEGORIES[figure_name],
                labels=FIGURE_LABELS[figure_name] | {"shows": "picture"},
            ),
            csv=report(
                f"{R}/figures/{figure_name}.csv",
                caption=f"{Path.cwd()}/{R}/figures/{figure_name}.rst",
                category=CATEGORIES[figure_name],
                labels=FIGURE_LABELS[figure_name] | {"shows": "table"},
            ),
            caption=f"{R}/figures/{figure_name}.rst",
        log:
            f"{R}/logs/plot/{figure_name}.log",
        benchmark:
            f"{R}/benchmarks/plot/{figure_name}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        params:
            plot=figure.plot,
            section=canonical(figure),
            files=canonical(figure_files(figure)),
            code=code(f"plot_{figure.plot}.py", own=own_measures(figure_measures(figure))),
        script:
            "../../scripts/plot_{params.plot}.py"
