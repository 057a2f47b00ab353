def _cellhold_e2b(shell):
    """Adds the types e2b/data and e2b/chart to the displays of tables and figures, as JSON text."""
    import json
    import math
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    max_cells, max_points = 10_000, 10_000  # a larger object would make each display slow

    def plain(value):
        """Returns a value that JSON can have."""
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if hasattr(value, "item") and getattr(value, "size", 1) == 1:
            value = value.item()
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if value is None or isinstance(value, (bool, int, str)):
            return value
        return str(value)

    def frame(table):
        if table.size > max_cells:
            return None
        columns = {str(name): [plain(x) for x in table.iloc[:, i].tolist()] for i, name in enumerate(table.columns)}
        return json.dumps(columns)

    def text(value):
        value = str(value).strip()
        return value or None

    def unit(label):
        """Returns the unit at the end of a label: in brackets."""
        for begin, end in ("()", "[]"):
            if label and label.endswith(end) and begin in label:
                return label[label.rindex(begin) + 1 : -1]
        return None

    def plane(kind, axes, elements):
        x, y = text(axes.get_xlabel()), text(axes.get_ylabel())
        return {"type": kind, "title": text(axes.get_title()), "x_label": x, "y_label": y, "x_unit": unit(x), "y_unit": unit(y), "elements": elements}

    def dated(axis):
        return "Date" in type(axis.get_major_formatter()).__name__ or "Date" in type(axis.get_converter() if hasattr(axis, "get_converter") else axis.converter).__name__

    def scale(axis):
        if dated(axis):
            return "datetime"
        if type(axis.get_major_formatter()).__name__ == "StrCategoryFormatter":
            return "categorical"
        return axis.get_scale()

    def values(axis, numbers):
        if dated(axis):
            from matplotlib.dates import num2date

            return [x if hasattr(x, "isoformat") else num2date(float(x)) for x in numbers]
        if scale(axis) == "categorical":
            names = axis.get_major_formatter()
            return [x if isinstance(x, str) else str(names(x)) for x in numbers]
        return list(numbers)

    def ticks(axis):
        low, high = sorted(axis.get_view_interval())
        pairs = [(at, label.get_text()) for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels()) if low <= at <= high]
        return [plain(x) for x in values(axis, [at for at, _ in pairs])], [label for _, label in pairs]

    def points(kind, axes, series):
        elements = []
        for label, xs, ys in series:
            xs, ys = values(axes.xaxis, list(xs)[:max_points]), values(axes.yaxis, list(ys)[:max_points])
            elements.append({"label": label, "points": [[plain(x), plain(y)] for x, y in zip(xs, ys)]})
        chart = plane(kind, axes, elements)
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            chart[name + "_ticks"], chart[name + "_tick_labels"] = ticks(axis)
            chart[name + "_scale"] = scale(axis)
        return chart

    def bars(axes, rectangles):
        wide = len({round(r.get_height(), 9) for r in rectangles}) == 1 and len({round(r.get_width(), 9) for r in rectangles}) > 1
        axis = axes.yaxis if wide else axes.xaxis
        labels = dict(zip([float(at) for at in axis.get_ticklocs()], [label.get_text() for label in axis.get_ticklabels()]))
        groups = {id(r): c.get_label() for c in axes.containers for r in c}
        elements = []
        for r in rectangles:
            middle = r.get_y() + r.get_height() / 2 if wide else r.get_x() + r.get_width() / 2
            near = min(labels, key=lambda at: abs(at - middle), default=None)
            name = labels[near] if near is not None and abs(near - middle) <= 0.5 and labels[near] else str(round(middle, 6))
            group = str(groups.get(id(r), ""))
            elements.append({"label": name, "group": "" if group.startswith("_") else group, "value": plain(r.get_width() if wide else r.get_height())})
        return plane("bar", axes, elements)

    def pie(axes, wedges):
        names = [t.get_text() for t in axes.texts if t.get_text() and not t.get_text().endswith("%")]
        elements = []
        for i, w in enumerate(wedges):
            name = w.get_label()
            if not name or name.startswith("_"):
                name = names[i] if i < len(names) else ""
            elements.append({"label": name, "angle": plain(abs(w.theta2 - w.theta1)), "radius": plain(w.r)})
        return {"type": "pie", "title": text(axes.get_title()), "elements": elements}

    def boxes(axes, found):
        """Reads box plots: for each box its whiskers and caps, its median and its outliers."""
        labels = [label.get_text() for label in axes.get_xticklabels()]
        elements = []
        for i, (left, right, low, high) in enumerate(found):
            inside = [line for line in axes.lines if len(line.get_xdata()) and left <= float(min(line.get_xdata())) and float(max(line.get_xdata())) <= right]
            flat = [float(line.get_ydata()[0]) for line in inside if len(line.get_ydata()) == 2 and float(line.get_ydata()[0]) == float(line.get_ydata()[1])]
            median = next((y for y in flat if low <= y <= high), None)
            ends = [float(y) for line in inside if len(line.get_ydata()) == 2 for y in line.get_ydata()]
            outliers = [plain(float(y)) for line in inside if line.get_linestyle() == "None" for y in line.get_ydata()]
            elements.append({"label": labels[i] if i < len(labels) else "", "min": plain(min(ends, default=low)), "first_quartile": low,
                             "median": median, "third_quartile": high, "max": plain(max(ends, default=high)), "outliers": outliers})
        return plane("box_and_whisker", axes, elements)

    def find_boxes(axes):
        from matplotlib.patches import PathPatch

        found = []
        for line in axes.lines:
            x, y = [float(v) for v in line.get_xdata()] if scale(axes.xaxis) == "linear" else [], line.get_ydata()
            if len(x) == 5 and x[0] == x[4] and float(y[0]) == float(y[4]) and len(set(x)) == 2 and len({float(v) for v in y}) <= 2:
                found.append((min(x), max(x), float(min(y)), float(max(y))))
        for patch in axes.patches:
            if isinstance(patch, PathPatch):
                box = patch.get_path().get_extents()
                found.append((box.x0, box.x1, box.y0, box.y1))
        return found

    def chart(axes):
        from matplotlib.collections import PathCollection
        from matplotlib.patches import Rectangle, Wedge

        wedges = [p for p in axes.patches if isinstance(p, Wedge)]
        rectangles = [p for p in axes.patches if isinstance(p, Rectangle)]
        scatters = [c for c in axes.collections if isinstance(c, PathCollection)]
        if wedges:
            return pie(axes, wedges)
        if found := find_boxes(axes):
            return boxes(axes, found)
        if rectangles:
            return bars(axes, rectangles)
        if axes.lines:
            return points("line", axes, [(str(x.get_label()), x.get_xdata(), x.get_ydata()) for x in axes.lines])
        if scatters:
            return points("scatter", axes, [(str(c.get_label()), c.get_offsets()[:, 0], c.get_offsets()[:, 1]) for c in scatters])
        return {"type": "unknown", "title": text(axes.get_title()), "elements": []}

    def figure(drawing):
        charts = [chart(axes) for axes in drawing.get_axes()]
        if not charts:
            return None
        if len(charts) == 1:
            return json.dumps(charts[0])
        title = drawing.get_suptitle() if hasattr(drawing, "get_suptitle") else ""
        return json.dumps({"type": "superchart", "title": text(title), "elements": charts})

    def add(media, package, name, read):
        """Adds a type. IPython's own registration would not last: matplotlib removes that of its figures."""

        class Formatter(BaseFormatter):
            format_type = Unicode(media)
            print_method = ObjectName("_repr_" + media.replace("/", "_") + "_")

            def __call__(self, value):
                if not any(c.__name__ == name and c.__module__.split(".")[0] == package for c in type(value).__mro__):
                    return None
                try:
                    return read(value)
                except Exception:  # an object that cannot be read has no such type, and its display is not affected
                    return None

        shell.display_formatter.formatters[media] = Formatter(parent=shell.display_formatter)

    add("e2b/data", "pandas", "DataFrame", frame)
    add("e2b/chart", "matplotlib", "Figure", figure)


_cellhold_e2b(get_ipython())
del _cellhold_e2b
